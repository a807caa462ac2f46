package pluginstore

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Ways to trust a binary.
const (
	Folder = "folder" // what lies in the plugin folder, which no ordinary user can write
	Pinned = "pinned" // what is in a list of hashes
	Signed = "signed" // what one of some keys has signed
)

// Trust says which bytes may run.
type Trust struct {
	Mode string              // Folder, Pinned or Signed
	Pins []string            // of Pinned: SHA-256 in lower-case hex
	Keys []ed25519.PublicKey // of Signed
}

// untrusted is an ErrUntrusted that says why.
type untrusted struct{ text string }

// Error says why.
func (u *untrusted) Error() string { return u.text }

// Is makes it an ErrUntrusted.
func (u *untrusted) Is(target error) bool { return target == ErrUntrusted }

// holds is nil where the bytes may run; the folder is not looked at.
func (t *Trust) holds(name string, v *Version, approved []string) error {
	switch {
	case t.Mode == Folder, slices.Contains(approved, v.SHA256):
		return nil
	case t.Mode == Pinned && slices.Contains(t.Pins, v.SHA256):
		return nil
	case t.Mode == Pinned:
		return &untrusted{fmt.Sprintf("its sha256 %s is not in plugins.pins: compare it with what the maker says, then add it there, or hostd plugins approve %s", v.SHA256, name)}
	}
	return t.signed(name, v)
}

// maxSignature bounds the file of a signature, in bytes.
const maxSignature = 4 << 10

// SignedText is what the signature of a plugin is made over.
func SignedText(name, sum string) []byte { return []byte("hostd plugin " + name + " " + sum) }

// signed looks at the signature: ed25519 (RFC 8032) over SignedText, in base64.
func (t *Trust) signed(name string, v *Version) error {
	if v.Signature == "" {
		return &untrusted{fmt.Sprintf("it has no signature: put %s.sig beside it, or hostd plugins approve %s", name, name)}
	}
	raw, err := base64.StdEncoding.DecodeString(v.Signature)
	if err != nil || len(raw) != ed25519.SignatureSize {
		return &untrusted{name + ".sig is no signature: it must be 64 bytes in base64"}
	}
	for _, key := range t.Keys {
		if ed25519.Verify(key, SignedText(name, v.SHA256), raw) {
			return nil
		}
	}
	return &untrusted{"none of plugins.keys has signed these bytes"}
}

// signature is the text of NAME.sig beside the file, where signatures are asked for; empty where there is none.
func (s *Store) signature(name string) string {
	if s.opt.Trust.Mode != Signed {
		return ""
	}
	f, err := os.Open(filepath.Join(s.opt.Inbox, name+".sig"))
	if err != nil {
		return "" // as good as none: it is looked at again
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSignature))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
