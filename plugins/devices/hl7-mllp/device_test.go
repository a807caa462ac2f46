package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// sized is a frame whose message has exactly so many bytes.
func sized(id string, size int) string {
	head := oru(id, "-1.00") + "NTE|1||"
	text := make([]byte, size-len(head)-1)
	for i := range text {
		text[i] = byte('a' + i/256%26)
	}
	return frame(head + string(text) + "\r")
}

// TestLongest takes a message of the limit, and refuses one byte more; the next message is taken.
func TestLongest(t *testing.T) {
	const limit = 16 << 20
	if testing.Short() {
		t.Skip("16 MiB take long with the race detector")
	}
	r := newRig(t, nil).mustOpen()
	p := r.dial()
	go p.say(sized("1", limit) + sized("2", limit+1) + frame(oru("3", "-1.00")))
	p.want("AA 1", "AR 2", "AA 3")
	list := r.records()
	if len(list) != 3 || frame(string(list[0].Raw)) != sized("1", limit) || list[1].Kind != sdk.KindReject || len(list[1].Data) != evidence || list[1].Labels[sdk.LabelReason] != "too_large" ||
		list[1].Labels["detail"] != "longer than max_message_kb" {
		t.Errorf("stored %s", r.kinds())
	}
	budget := r.d.session.budget
	r.close()
	if free := budget.left(); free != 48<<20 {
		t.Errorf("%d bytes of the budget are lost", 48<<20-free)
	}
}

// TestMemoryIsShared holds that messages which do not fit together into the memory are taken all the same: a sender that had
// to give way sends again.
func TestMemoryIsShared(t *testing.T) {
	r := newRig(t, map[string]any{"memory_mb": 1, "max_message_kb": 1024}).mustOpen()
	const n, size = 8, 700 << 10
	done := make(chan bool, n)
	for i := range n {
		go func() {
			for answered := false; !answered; {
				conn, err := net.Dial("tcp", r.d.session.at.String())
				if err != nil {
					t.Error(err)
					break
				}
				_, err = conn.Write([]byte(sized(fmt.Sprint(i), size)))
				answer := make([]byte, 1000)
				if err == nil {
					_, err = conn.Read(answer)
				}
				answered = err == nil && strings.Contains(string(answer), fmt.Sprintf("MSA|AA|%d\r", i))
				conn.Close()
			}
			done <- true
		}()
	}
	for range n {
		<-done
	}
	list := r.records()
	for _, rec := range list {
		if text := string(rec.Raw); frame(text) != sized(strings.Split(text, "|")[9], size) {
			t.Error("a message is not what was sent")
		}
	}
	if len(list) != n {
		t.Errorf("%d records", len(list))
	}
}

// TestTurnedAway holds that a peer outside of the list and one connection too many are closed, and others are served.
func TestTurnedAway(t *testing.T) {
	r := newRig(t, map[string]any{"allow": []any{"192.0.2.0/24"}}).mustOpen()
	r.dial().want("closed")
	r = newRig(t, map[string]any{"allow": []any{"127.0.0.1"}, "max_per_address": 2}).mustOpen()
	a, b := r.dial(), r.dial()
	a.say(frame(oru("1", "-1.00")))
	b.say(frame(oru("2", "-1.00")))
	a.want("AA 1")
	b.want("AA 2")
	r.dial().want("closed")
	a.conn.Close()
	for { // its place is free when the device has seen it
		p := r.dial()
		if _, err := p.conn.Write([]byte(frame(oru("3", "-1.00")))); err == nil && p.hear() == "AA 3" {
			break
		}
		p.conn.Close()
	}
	b.say(frame(oru("4", "-1.00")))
	b.want("AA 4")
}

// TestSlowloris has a thousand connections that never end their message, with the limit of connections of one address and
// without: nobody else waits, and all their memory is bounded.
func TestSlowloris(t *testing.T) {
	const all = 1000
	for _, each := range []int{16, 2 * all} {
		r := newRig(t, map[string]any{"max_per_address": each, "max_connections": 2 * all}).mustOpen()
		good := r.dial()
		good.say(frame(oru("1", "-1.00")))
		good.want("AA 1")
		begun := []byte(vt + oru("slow", "-1.00")[:100])
		conns := make([]net.Conn, all)
		for i := range conns {
			conn, err := net.Dial("tcp", r.d.session.at.String())
			must(t, err)
			defer conn.Close()
			conns[i] = conn
			_, _ = conn.Write(begun) // it may be closed already
		}
		for i := range 20 {
			good.say(frame(oru(fmt.Sprint(i), "-2.00")))
			good.want("AA " + fmt.Sprint(i))
		}
		want := min(each, all+1)
		for r.d.session.connected() > want { // those too many are being turned away
			time.Sleep(time.Millisecond)
		}
		if free := r.d.session.budget.left(); free != 48<<20 {
			t.Errorf("they hold %d bytes of the shared memory", 48<<20-free)
		}
		r.close()
	}
}

// TestFull holds that nothing is acknowledged while the host has no room, and that it goes on by itself when there is again.
func TestFull(t *testing.T) {
	r := newRig(t, nil).mustOpen()
	r.told(sdk.ReasonFull)
	for _, id := range []string{"1", "2"} {
		p := r.dial()
		p.say(frame(oru(id, "-1.00")))
		p.want("closed")
	}
	if len(r.records()) != 0 {
		t.Fatal("stored what was refused")
	}
	r.told("")
	p := r.dial()
	p.say(frame(oru("2", "-1.00")))
	p.want("AA 2")
	if len(r.records()) != 1 {
		t.Fatal("acknowledged what is not stored")
	}
	r.mustOpen() // the position that was stored with 2 does not speak of 1
	p = r.dial()
	p.say(frame(oru("1", "-1.00")))
	p.want("AA 1")
	if n := len(r.records()); n != 2 {
		t.Errorf("%d records are stored, want 2", n)
	}
}

// TestRefusedJustBeforeTheEnd holds that a negative answer whose verdict has come is given, although the device is closed.
func TestRefusedJustBeforeTheEnd(t *testing.T) {
	r := newRig(t, map[string]any{"sources": []any{map[string]any{"not_stored": "AR"}}}).mustOpen()
	r.told(sdk.ReasonStopping)
	p := r.dial()
	p.say(frame(oru("1", "-1.00")))
	p.want("AR 1")
	r.close()
	p.want("closed")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		m := &message{verdict: make(chan sdk.Reason, 1)}
		m.verdict <- sdk.ReasonStopping
		if v, ok := m.await(ended); !ok || v != sdk.ReasonStopping {
			t.Fatalf("the verdict that came before the end is %q, %t", v, ok)
		}
	}
}

// TestClient has the device call a sender that listens. When that hangs up, Read says so.
func TestClient(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	r := newRig(t, map[string]any{"connect": ln.Addr().String()})
	delete(r.settings, "listen")
	for n := range 2 {
		opened := make(chan error, 1)
		go func() { opened <- r.open() }()
		conn, err := ln.Accept()
		must(t, err)
		must(t, <-opened)
		p := r.peerOn(conn)
		p.say(frame(oru(fmt.Sprint(n), "-1.00")))
		p.want("AA " + fmt.Sprint(n))
		must(t, conn.Close())
		for range int(patience / time.Millisecond) {
			if r.failure() != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if !errors.Is(r.failure(), errGone) {
			t.Fatalf("Read: %v, want %v", r.failure(), errGone)
		}
	}
	r.close()
	must(t, ln.Close())
	if err := r.open(); err == nil {
		t.Error("opened where nobody listens")
	}
}

// TestSettings holds what is wrong with settings.
func TestSettings(t *testing.T) {
	for _, c := range []struct {
		want     string
		settings map[string]any
	}{
		{"listen or connect", map[string]any{"listen": ""}},
		{"listen or connect", map[string]any{"connect": "x:1"}},
		{"memory_mb", map[string]any{"memory_mb": 1, "max_message_kb": 2048}},
		{"tls_cert and tls_key", map[string]any{"tls_cert": "x"}},
		{"tls_cert", map[string]any{"tls": true}},
		{"allow[0]", map[string]any{"allow": []any{"x"}}},
		{"sources[1].address", map[string]any{"sources": []any{map[string]any{}, map[string]any{"address": "x"}}}},
		{"sources[0].code_page", map[string]any{"sources": []any{map[string]any{"code_page": "x"}}}},
		{"sources[0].charset", map[string]any{"sources": []any{map[string]any{"charset": "x"}}}},
		{"sources[0].mapping.observations[0].code", map[string]any{"sources": []any{map[string]any{"mapping": map[string]any{"observations": []any{map[string]any{"code": " "}}}}}}},
	} {
		r := newRig(t, c.settings)
		if err := r.open(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.settings, err, c.want)
		}
	}
}

// TestPosition holds that a position of something else is an error, and that one is never too long.
func TestPosition(t *testing.T) {
	for _, p := range []sdk.Position{"x", "1 abc", "1 ****************"} {
		if _, err := newMemory(p); err == nil {
			t.Errorf("%q is taken", p)
		}
	}
	m, err := newMemory("")
	must(t, err)
	const all = mostKnown + 300
	var last sdk.Position
	for i := range all {
		k := key{byte(i), byte(i >> 8)}
		m.stored(k)
		if m.told, last = m.after([]*message{{key: k, by: &exchange{}}}); len(last) > sdk.MaxPosition {
			t.Fatalf("position of %d bytes", len(last))
		}
	}
	if len(m.known) != mostKnown || m.knows(key{0, 0}) || !m.knows(key{byte((all - 1) % 256), byte((all - 1) >> 8)}) {
		t.Errorf("%d keys are known", len(m.known))
	}
	again, err := newMemory(last)
	must(t, err)
	if len(again.known) != mostTold || again.count != m.count {
		t.Errorf("%d keys and count %d, want %d and %d", len(again.known), again.count, mostTold, m.count)
	}
	for _, told := range m.told { // every sender goes on
		told.by.heard.Store(true)
	}
	if _, p := m.after(nil); !strings.HasSuffix(string(p), " ") {
		t.Errorf("position %q names what was heard", p)
	}
}

// TestTLS takes senders with a certificate of the clinic's, and no others.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	pair := certificate(t, dir)
	name := func(s string) string { return filepath.Join(dir, s) }
	plain := map[string]any{"tls_cert": name("cert.pem"), "tls_key": name("key.pem")}
	r := newRig(t, plain).mustOpen()
	roots, err := readCA(name("cert.pem"))
	must(t, err)
	dial := func(config *tls.Config) *peer {
		config.RootCAs, config.ServerName = roots, "127.0.0.1"
		return r.peerOn(tls.Client(r.dial().conn, config))
	}
	p := dial(&tls.Config{})
	p.say(frame(oru("1", "-1.00")))
	p.want("AA 1")
	if p := dial(&tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); p.hear() != "closed" {
		t.Error("TLS 1.1 is taken")
	}
	p = r.dial() // without TLS
	p.say(frame(oru("2", "-1.00")))
	if p.in.Buffered() > 0 || strings.HasPrefix(p.hearRaw(), vt) {
		t.Error("a plain message was answered")
	}
	plain["tls_ca"] = name("cert.pem")
	r = newRig(t, plain).mustOpen()
	if p := dial(&tls.Config{}); p.hear() != "closed" {
		t.Error("a sender without a certificate is taken")
	}
	p = dial(&tls.Config{Certificates: []tls.Certificate{pair}})
	p.say(frame(oru("3", "-1.00")))
	p.want("AA 3")
}

// hearRaw is what comes, up to the end.
func (p *peer) hearRaw() string {
	b := make([]byte, 100)
	n, _ := p.in.Read(b) // the end is an answer, too
	return string(b[:n])
}

// certificate makes one that signs itself, for 127.0.0.1, as cert.pem and key.pem.
func certificate(t testing.TB, dir string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clinic"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		must(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	must(t, err)
	return pair
}

// TestBudget holds that one who asks for too much waits, gives up with ctx, and gives way where nobody else will.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(10)
		must(t, b.take(t.Context(), 0, 7))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.take(ctx, 0, 4); !errors.Is(err, context.Canceled) {
			t.Errorf("take 4 of 3: %v", err)
		}
		must(t, b.take(t.Context(), 0, 3))
		large, small, late := make(chan error, 1), make(chan error, 1), make(chan error, 1)
		go func() { large <- b.take(t.Context(), 6, 2) }()
		synctest.Wait()
		go func() { late <- b.take(t.Context(), 0, 1) }()
		synctest.Wait()
		go func() { small <- b.take(t.Context(), 3, 1) }()
		synctest.Wait()
		if len(large)+len(small)+len(late) > 0 {
			t.Error("one goes on while another, who holds 1, may give it")
		}
		b.give(1)
		if err := <-small; !errors.Is(err, errNoMemory) {
			t.Errorf("the smaller one: %v", err)
		}
		b.give(3)
		must(t, <-large)
		must(t, <-late)
		if b.left() != 1 || len(b.waiters) != 0 {
			t.Errorf("%d left, %d wait", b.left(), len(b.waiters))
		}
		b = newBudget(10)
		must(t, b.take(t.Context(), 0, 10))
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- b.take(t.Context(), 2, 3) }()
		synctest.Wait()
		go func() { second <- b.take(t.Context(), 8, 1) }()
		if err := <-second; !errors.Is(err, errNoMemory) {
			t.Errorf("the one that is not the next: %v", err)
		}
		b.give(8)
		must(t, <-first)
	})
}

// TestClientWithTLS calls a sender whose certificate is the clinic's, and no other one.
func TestClientWithTLS(t *testing.T) {
	dir := t.TempDir()
	pair := certificate(t, dir)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	must(t, err)
	defer ln.Close()
	r := newRig(t, map[string]any{"connect": ln.Addr().String(), "tls": true, "tls_ca": filepath.Join(dir, "cert.pem")})
	delete(r.settings, "listen")
	for _, known := range []bool{true, false} {
		if !known { // the system's roots do not know it
			delete(r.settings, "tls_ca")
		}
		must(t, r.open())
		conn, err := ln.Accept()
		must(t, err)
		p := r.peerOn(conn)
		_, _ = conn.Write([]byte(frame(oru("1", "-1.00")))) // it may have hung up
		if heard := p.hear(); (heard == "AA 1") != known {
			t.Errorf("a certificate that is known: %t, heard %s", known, heard)
		}
		r.close()
	}
}

// TestSourceDecides holds that a source's character set and mapping are used for its messages, found by MSH-3.
func TestSourceDecides(t *testing.T) {
	r := newRig(t, map[string]any{"sources": []any{
		map[string]any{"application": "OTHER"},
		map[string]any{"application": "EYESIM", "address": "127.0.0.0/8", "charset": "windows-1252", "mapping": map[string]any{
			"observations": []any{map[string]any{"code": "sphere", "as": "se"}}, "sentinels": []any{"-5"},
		}},
	}}).mustOpen()
	p := r.dial()
	text := strings.Replace(oru("1", "-1.00"), "Probe", "\xdcbung", 1) + "OBX|2|NM|cylinder^cylinder^99EYE|R.0|-5|[diop]^^UCUM|||||F\r"
	p.say(frame(text) + frame(strings.Replace(text, "EYESIM", "OTHER", 1)))
	p.want("AA 1", "AA 1")
	for i, want := range []string{"se Übung 1", "sphere 2"} {
		e, err := exam.Decode(r.records()[i].Data)
		must(t, err)
		name := strings.Fields(e.Patient.Name)
		got := fmt.Sprint(e.Observations[0].Code, " ", name[len(name)-1], " ", len(e.Observations))
		if i == 1 { // what the other source's name is without its character set is hl7's to say
			got = fmt.Sprint(e.Observations[0].Code, " ", len(e.Observations))
		}
		if got != want {
			t.Errorf("message %d: %s, want %s", i, got, want)
		}
	}
}
