// Package dpapi keeps a secret in a file that only one Windows computer can open: Windows' Data Protection API encrypts it
// with a key of the computer, or of an account on it, which never leaves there.
package dpapi

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
)

// Errors that callers branch on, found with errors.Is.
var (
	// ErrNotWindows says that this system has no such thing.
	ErrNotWindows = errors.New("works only on Windows")
	// ErrForm says that the bytes are no file of Protect.
	ErrForm = errors.New("was not made by hostd spool key --dpapi")
	// ErrElsewhere says that the secret was protected on another computer, by another account, or that the file is damaged.
	ErrElsewhere = errors.New("this computer or account cannot open it: it was made elsewhere, or is damaged; make it anew from your copy of the key")
)

// Scope says who can open what Protect makes.
type Scope int

// The scopes of Protect.
const (
	Machine Scope = iota // every account of this computer that may read the file
	User                 // the account that calls Protect, on this computer
)

// head is the first line of a file; behind it stands what Windows made, in base64.
const head = "hostd dpapi 1\n"

// lineSize is how many letters of base64 stand in a line.
const lineSize = 76

// Supported is nil where secrets can be protected and opened, and ErrNotWindows elsewhere.
func Supported() error { return supported() }

// Protect gives the content of a file from which Open gives the secret back, on this computer alone. The content is text.
func Protect(secret []byte, scope Scope) ([]byte, error) {
	sealed, err := protect(secret, scope)
	if err != nil {
		return nil, fmt.Errorf("protect secret: %w", err)
	}
	text := []byte(head)
	code := base64.StdEncoding.AppendEncode(nil, sealed)
	for len(code) > 0 {
		n := min(len(code), lineSize)
		text = append(append(text, code[:n]...), '\n')
		code = code[n:]
	}
	return text, nil
}

// Open gives the secret of a file's content. The error wraps ErrNotWindows, ErrForm or ErrElsewhere.
func Open(content []byte) ([]byte, error) {
	if err := Supported(); err != nil {
		return nil, fmt.Errorf("open secret: %w", err)
	}
	content = bytes.ReplaceAll(bytes.TrimPrefix(content, []byte("\xef\xbb\xbf")), []byte("\r"), nil) // what editors add
	code, ok := bytes.CutPrefix(content, []byte(head))
	sealed, err := base64.StdEncoding.AppendDecode(nil, bytes.TrimSpace(code)) // it passes over line ends
	if !ok || err != nil || len(sealed) == 0 {
		return nil, fmt.Errorf("open secret: it %w", ErrForm)
	}
	secret, err := unprotect(sealed)
	if err != nil {
		return nil, fmt.Errorf("open secret: %w", err)
	}
	return secret, nil
}
