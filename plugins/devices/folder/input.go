package main

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// evidence is how much of an unreadable file travels with its reject.
const evidence = 64 << 10

// errChanged says that a file is not the one that had settled.
var errChanged = errors.New("file changed while it was read")

// input is the content of a file.
type input struct {
	data    []byte // whole, or the first evidence bytes where tooLarge
	size    int64
	digest  [32]byte
	tooMuch bool // larger than max_size_mb: not read
}

func (in *input) key() key { return key(in.digest[:len(key{})]) }

// load reads a settled file. It refuses one that changed since, so that no half of a new content is taken for a whole.
func (d *folder) load(f found) (*input, error) {
	file, err := os.Open(filepath.Join(d.Dir, f.rel))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := unchanged(file, f.stamp); err != nil {
		return nil, err
	}
	in := &input{size: f.size, tooMuch: f.size > int64(d.MaxSizeMB)<<20}
	want := f.size
	if in.tooMuch {
		want = evidence
	}
	in.data = make([]byte, want)
	n, err := io.ReadFull(file, in.data)
	in.data = in.data[:n]
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	if err := unchanged(file, f.stamp); err != nil {
		return nil, err
	}
	if int64(n) < want {
		return nil, errChanged
	}
	in.digest = sha256.Sum256(in.data)
	if in.tooMuch {
		in.digest = sha256.Sum256(binary.BigEndian.AppendUint64(append([]byte("too_large"), in.digest[:]...), uint64(f.size)))
	}
	return in, nil
}

func unchanged(file *os.File, st stamp) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if stampOf(info) != st {
		return errChanged
	}
	return nil
}
