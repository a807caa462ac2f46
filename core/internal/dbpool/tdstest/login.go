package tdstest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strconv"
	"time"
)

const (
	maxPacket    = 32767
	maxPacketTLS = 16383 // section 2.2.6.5: what fits a TLS record
)

// Encryption as it is agreed on in the prelogin, section 2.2.6.5.
const (
	encryptOff         = 0 // of the login alone
	encryptOn          = 1
	encryptUnsupported = 2
)

// open brings a connection through prelogin, TLS and login, section 3.3.5; an error ends it.
func (s *Session) open(ctx context.Context) error {
	if err := s.strike(s.srv.fault(Connect, Request{Session: s.id})); err != nil {
		return err
	}
	asked, err := readMessage(s.conn, msgPrelogin)
	if err != nil {
		return err
	}
	mode := s.encryption(asked)
	if err := s.answer(prelogin(mode)).end(); err != nil {
		return err
	}
	plain := s.conn
	if mode != encryptUnsupported {
		if err := s.strike(s.srv.fault(Handshake, Request{Session: s.id})); err != nil {
			return err
		}
		if err := s.handshake(ctx); err != nil {
			return err
		}
	}
	body, err := readMessage(s.conn, msgLogin)
	if err != nil {
		return err
	}
	if mode == encryptOff {
		s.conn = plain
	}
	if err := s.strike(s.srv.fault(Login, Request{Session: s.id})); err != nil {
		return err
	}
	return s.login(body, mode)
}

// encryption decides what both sides can do; option 1 of the prelogin is what the client asks for.
func (s *Session) encryption(asked []byte) byte {
	for c := (&cursor{b: asked}); c.err == nil; {
		option := c.u8()
		at := int(binary.BigEndian.Uint16(append(c.take(2), 0, 0)))
		c.take(2)
		if option == 0xff {
			break
		}
		if option != 1 || at >= len(asked) || s.srv.cfg.Certificate == nil {
			continue
		}
		if wants := asked[at]; wants == encryptOff || wants == encryptUnsupported {
			return wants
		}
		return encryptOn
	}
	return encryptUnsupported
}

// prelogin writes the answer to a prelogin: version, encryption and no MARS.
func prelogin(mode byte) []byte {
	values := []struct {
		option byte
		value  []byte
	}{{0, []byte{16, 0, 3, 232, 0, 0}}, {1, []byte{mode}}, {4, []byte{0}}}
	var head, body []byte
	for _, v := range values {
		head = append(head, v.option)
		head = binary.BigEndian.AppendUint16(head, uint16(5*len(values)+1+len(body)))
		head = binary.BigEndian.AppendUint16(head, uint16(len(v.value)))
		body = append(body, v.value...)
	}
	return append(append(head, 0xff), body...)
}

// wrapped carries the TLS handshake in packets of type prelogin, section 2.2.6.5; when it is done, nothing is wrapped.
type wrapped struct {
	net.Conn

	done bool   // read by the session's two goroutines, set before there are two
	in   []byte // of a packet, not read yet
}

func (w *wrapped) Read(p []byte) (int, error) {
	if w.done {
		return w.Conn.Read(p)
	}
	if len(w.in) == 0 {
		kind, _, body, err := readPacket(w.Conn)
		if err == nil && kind != msgPrelogin {
			err = fmt.Errorf("read handshake: a packet of type %d", kind)
		}
		if err != nil {
			return 0, err
		}
		w.in = body
	}
	n := copy(p, w.in)
	w.in = w.in[n:]
	return n, nil
}

func (w *wrapped) Write(p []byte) (int, error) {
	if w.done {
		return w.Conn.Write(p)
	}
	for part := range slices.Chunk(p, packetSize-packetHeader) {
		if _, err := w.Conn.Write(packet(msgPrelogin, statusEnd, 1, part)); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// handshake turns the connection into one of TLS, of version 1.2 at most: what 1.3 sends behind the handshake would no
// longer be wrapped at the other end.
func (s *Session) handshake(ctx context.Context) error {
	w := &wrapped{Conn: s.conn}
	conn := tls.Server(w, &tls.Config{Certificates: []tls.Certificate{*s.srv.cfg.Certificate}, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12})
	err := conn.HandshakeContext(ctx)
	w.done = true
	s.conn = conn
	return err
}

// login reads LOGIN7, section 2.2.6.4, and answers it.
func (s *Session) login(body []byte, mode byte) error {
	user, err1 := loginField(body, 40)
	password, err2 := loginField(body, 44)
	app, err3 := loginField(body, 48)
	database, err4 := loginField(body, 68)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		s.srv.count(func(c *Counts) { c.Broken++ })
		return err
	}
	for i, b := range password { // section 2.2.6.4: the password's bits are mixed
		b ^= 0xa5
		password[i] = b<<4 | b>>4
	}
	s.user, s.app, s.database = text(user), text(app), text(database)
	if s.database == "" {
		s.database = s.srv.cfg.Databases[0]
	}
	if errs := s.srv.admit(s, text(password)); len(errs) > 0 {
		s.srv.count(func(c *Counts) { c.Refused++ })
		a := s.answer(nil)
		a.errors(errs)
		a.done(ending{kind: tokenDone, status: doneError})
		return errors.Join(a.end(), errCut)
	}
	limit := maxPacket
	if mode == encryptOn {
		limit = maxPacketTLS
	}
	size := min(max(int(binary.LittleEndian.Uint32(body[8:])), 512), limit)
	a := s.answer(greeting(s.database, size))
	a.done(ending{kind: tokenDone})
	if err := a.end(); err != nil {
		return err
	}
	s.size = size
	s.srv.ready(s)
	return nil
}

// loginField returns the bytes of the text whose offset and length in characters stand at a place of LOGIN7.
func loginField(body []byte, place int) ([]byte, error) {
	if len(body) < 94 {
		return nil, fmt.Errorf("read login: %w", errShort)
	}
	at, n := int(binary.LittleEndian.Uint16(body[place:])), 2*int(binary.LittleEndian.Uint16(body[place+2:]))
	if at+n > len(body) {
		return nil, fmt.Errorf("read login: %w", errShort)
	}
	return body[at : at+n], nil
}

// admit returns the errors with which a login is refused. A database that does not exist gives two, as with SQL Server:
// 4060, then 18456, which is the one that go-mssqldb shows first.
func (srv *Server) admit(s *Session, password string) []Error {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	switch {
	case srv.refusal != nil:
		return []Error{*srv.refusal}
	case s.user != srv.cfg.User || password != srv.cfg.Password:
		return []Error{SQLError(18456)}
	case !slices.Contains(srv.cfg.Databases, s.database):
		return []Error{SQLError(4060), SQLError(18456)}
	default:
		return nil
	}
}

// ready makes a session that is logged in known.
func (srv *Server) ready(s *Session) {
	srv.mu.Lock()
	srv.live[s] = true
	srv.mu.Unlock()
	srv.count(func(c *Counts) { c.Logins++ })
}

// greeting answers a good login: ENVCHANGE of database and packet size, LOGINACK.
func greeting(database string, size int) []byte {
	b := env(nil, envDatabase, varchar(nil, database), varchar(nil, "master"))
	b = env(b, envPacketSize, varchar(nil, strconv.Itoa(size)), varchar(nil, strconv.Itoa(packetSize)))
	ack := append([]byte{1, 0x74, 0, 0, 4}, varchar(nil, "Microsoft SQL Server")...)
	ack = append(ack, 16, 0, 3, 232)
	b = binary.LittleEndian.AppendUint16(append(b, tokenLoginAck), uint16(len(ack)))
	return append(b, ack...)
}

// NewCertificate makes a self-signed certificate for the loopback address, and its PEM for a client that is to trust it.
func NewCertificate() (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("make certificate: %w", err)
	}
	ask := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tdstest"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, ask, ask, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("make certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
