package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// audit keeps what operators did: an act in a line of JSON, synced before the act's answer. Each line has the SHA-256 of
// the one before, so that one which was changed or taken out shows.
type audit struct {
	path string

	mu   sync.Mutex
	last string // guarded by mu: hash of the last line
}

// act is one line.
type act struct {
	At     time.Time `json:"at"`
	Who    string    `json:"who"`
	What   string    `json:"what"`
	Args   any       `json:"args,omitempty"`
	Before string    `json:"before"` // hash of the line before, empty for the first
}

func openAudit(path string) (*audit, error) {
	a := &audit{path: path}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open audit: %w", err)
	}
	b = bytes.TrimRight(b, "\n")
	if len(b) > 0 {
		a.last = lineHash(b[bytes.LastIndexByte(b, '\n')+1:])
	}
	return a, nil
}

func lineHash(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// note writes a line. After an error the act must not be done, or its answer must say that it is not in the audit.
func (a *audit) note(who, what string, args any) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	line, err := json.Marshal(act{At: time.Now().UTC(), Who: who, What: what, Args: args, Before: a.last})
	if err != nil {
		return fmt.Errorf("write audit: %w", err)
	}
	f, err := os.OpenFile(a.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("write audit: %w", err)
	}
	_, err = f.Write(append(line, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write audit: %w", err)
	}
	a.last = lineHash(line)
	return nil
}
