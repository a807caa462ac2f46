package sim

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Folder is a folder or share into which an instrument exports files.
type Folder string

// Write writes a file in one go, in its place, as most instruments do. What is there already is overwritten.
func (f Folder) Write(name string, content []byte) error {
	if err := os.WriteFile(f.path(name), content, 0o600); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// WriteSlowly writes a file in its place in so many pieces, with a pause after each but the last. When ctx ends the file
// stays as it is then: cut.
func (f Folder) WriteSlowly(ctx context.Context, name string, content []byte, pieces int, pause time.Duration) (err error) {
	file, err := os.OpenFile(f.path(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	defer func() {
		if end := file.Close(); err == nil {
			err = end
		}
	}()
	for ; pieces > 1 && len(content) > 1; pieces-- {
		n := max(1, len(content)/pieces)
		if _, err := file.Write(content[:n]); err != nil {
			return fmt.Errorf("export: %w", err)
		}
		content = content[n:]
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	if _, err := file.Write(content); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// RenameIn writes the file under another name, which ends in .part, and renames it: it is there whole or not at all. A
// file of that name is renamed over.
func (f Folder) RenameIn(name string, content []byte) error {
	part := f.path(name + ".part")
	if err := os.WriteFile(part, content, 0o600); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := os.Rename(part, f.path(name)); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

func (f Folder) path(name string) string { return filepath.Join(string(f), filepath.FromSlash(name)) }
