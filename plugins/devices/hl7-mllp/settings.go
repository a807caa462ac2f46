package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/hostd/hostd/core/protocols/hl7"
	"github.com/hostd/hostd/core/protocols/textenc"
	"github.com/hostd/hostd/core/sdk/line"
)

// device takes the messages of all senders, and answers each when it is stored. The tagged fields are its settings.
type device struct {
	Listen string   `setting:"listen" help:"address and port on which senders call, for example :2575; or connect"`
	Server string   `setting:"connect" help:"HOST:PORT of a sender that listens; or listen"`
	Allow  []string `setting:"allow" help:"addresses and ranges (10.1.0.0/16) that may call; empty is everybody"`

	TLS     bool   `setting:"tls" default:"false" help:"connect with TLS; listen has it where there is a certificate"`
	TLSCert string `setting:"tls_cert" help:"file with our certificate, in PEM"`
	TLSKey  string `setting:"tls_key" help:"file with its key, in PEM"`
	TLSCA   string `setting:"tls_ca" help:"file with the certificates, in PEM, with which the peer's must be signed; listen then asks every sender for one"`

	MaxMessageKB   int           `setting:"max_message_kb" default:"16384" unit:"KiB" min:"1" max:"65536" help:"longest message; a longer one is refused"`
	MaxConnections int           `setting:"max_connections" default:"1024" min:"1" max:"10000" help:"connections at once"`
	MaxPerAddress  int           `setting:"max_per_address" default:"16" min:"1" max:"10000" help:"connections of one address at once"`
	MemoryMB       int           `setting:"memory_mb" default:"48" unit:"MiB" min:"1" max:"4096" help:"memory that all connections share for messages above 8 KiB; at least one message must fit"`
	MessageTime    time.Duration `setting:"message_timeout" default:"30s" min:"1" max:"3600" help:"time from the first byte of a message to its last; then the connection is closed"`
	IdleTime       time.Duration `setting:"idle_timeout" default:"0s" min:"0" max:"604800" help:"a connection without a message for as long is closed; 0s is never"`

	Sources []source `setting:"sources" help:"what is different for some senders; the first that fits counts"`

	*session // nil while it is closed
}

// source is what is different for some senders.
type source struct {
	Address     string    `setting:"address" help:"address or range of the sender, for example 10.1.2.3; empty is any"`
	Application string    `setting:"application" help:"MSH-3 of its messages, first component; empty is any"`
	Facility    string    `setting:"facility" help:"MSH-4 of its messages, first component; empty is any"`
	NotStored   string    `setting:"not_stored" default:"close" enum:"close,AR,AE" help:"answer when hostd cannot store: close the connection, so that the sender repeats; or AR, or AE; either is CE in enhanced mode"`
	Reply       string    `setting:"reply" default:"hl7" enum:"hl7,commit,both" help:"hl7: a message with MSA; commit: the one byte of MLLP release 2; both: the byte, then the message"`
	Charset     string    `setting:"charset" help:"character set of messages that name none in MSH-18, as MSH-18 names it, or for example cp949; empty is UTF-8 where it fits"`
	Codepage    string    `setting:"code_page" help:"character set of bytes that are not what they were declared to be; empty is the one of the clinic's country"`
	Mapping     hl7.Rules `setting:"mapping" help:"which OBX is which observation"`

	prefix  netip.Prefix
	options hl7.Options
}

// Words of a source's settings.
const (
	notStoredClose = "close"
	replyHL7       = "hl7"
	replyCommit    = "commit"
	replyBoth      = "both"
)

// otherSources is for senders that no source of the configuration fits.
var otherSources = source{NotStored: notStoredClose, Reply: replyHL7}

// check says what is wrong, and prepares what the connections need.
func (d *device) check() error {
	var faults []error
	fault := func(format string, values ...any) { faults = append(faults, fmt.Errorf(format, values...)) }
	if (d.Listen == "") == (d.Server == "") {
		fault("listen or connect: write one of them")
	}
	if d.MemoryMB<<10 < d.MaxMessageKB {
		fault("memory_mb: must hold a message of max_message_kb at least")
	}
	if (d.TLSCert == "") != (d.TLSKey == "") {
		fault("tls_cert and tls_key: one goes with the other")
	}
	if d.Listen != "" && d.TLSCert == "" && (d.TLS || d.TLSCA != "") {
		fault("tls_cert: is needed to listen with TLS")
	}
	if _, err := line.NewGate(d.Allow, d.MaxConnections, d.MaxPerAddress); err != nil {
		faults = append(faults, err)
	}
	for i := range d.Sources {
		if err := d.Sources[i].check(); err != nil {
			fault("sources[%d].%w", i, err)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("check settings: %w", err)
	}
	return nil
}

// check prepares the source. An error begins with the setting.
func (s *source) check() (err error) {
	if s.Address != "" {
		if s.prefix, err = line.ParseNetwork(s.Address); err != nil {
			return errors.New("address: must be an address or a range such as 10.1.0.0/16")
		}
	}
	if s.Codepage != "" && !textenc.Known(s.Codepage) {
		return errors.New("code_page: must be a character set such as cp949, cp932 or windows-1252")
	}
	if s.Charset != "" && !hl7.KnownCharset(s.Charset) {
		return errors.New("charset: must be a character set as MSH-18 names it, or such as cp949")
	}
	s.options = hl7.Options{Charset: s.Charset, Codepage: s.Codepage}
	if s.options.Mapping, err = s.Mapping.Compile(); err != nil {
		return fmt.Errorf("mapping.%w", err)
	}
	return nil
}

// source is the one that sent a message.
func (d *device) source(peer netip.Addr, application, facility string) *source {
	for i := range d.Sources {
		src := &d.Sources[i]
		if (src.Address == "" || src.prefix.Contains(peer)) &&
			(src.Application == "" || src.Application == application) && (src.Facility == "" || src.Facility == facility) {
			return src
		}
	}
	return &otherSources
}

// tlsConfig is nil where the connection is plain.
func (d *device) tlsConfig() (*tls.Config, error) {
	if d.TLSCert == "" && !d.TLS {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if d.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(d.TLSCert, d.TLSKey)
		if err != nil {
			return nil, fmt.Errorf("read tls_cert and tls_key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if d.TLSCA != "" {
		pool, err := readCA(d.TLSCA)
		if err != nil {
			return nil, fmt.Errorf("read tls_ca: %w", err)
		}
		c.RootCAs, c.ClientCAs, c.ClientAuth = pool, pool, tls.RequireAndVerifyClientCert
	}
	if d.Server != "" {
		host, _, err := net.SplitHostPort(d.Server)
		if err != nil {
			return nil, fmt.Errorf("connect: must be HOST:PORT: %w", err)
		}
		c.ServerName = host
	}
	return c, nil
}

func readCA(name string) (*x509.CertPool, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("no certificate in it")
	}
	return pool, nil
}
