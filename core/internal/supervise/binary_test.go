package supervise

import (
	"bytes"
	"context"
	"debug/elf"
	"debug/pe"
	little "encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// header is the beginning of a program for another computer.
func header(t *testing.T, parts ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, p := range parts {
		if err := little.Write(&b, little.LittleEndian, p); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func elfFor(t *testing.T, m elf.Machine) []byte {
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(m), Version: 1, Ehsize: 64}
	copy(h.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	return header(t, h)
}

// cutELF is a program for this processor without sections, whose one part is longer than the file.
func cutELF(t *testing.T) []byte {
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1}
	if runtime.GOARCH == "arm64" {
		h.Machine = uint16(elf.EM_AARCH64)
	}
	copy(h.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	return header(t, h, elf.Prog64{Type: uint32(elf.PT_LOAD), Filesz: 1 << 20})
}

func peFor(t *testing.T, machine uint16) []byte {
	dos := make([]byte, 0x40)
	copy(dos, "MZ")
	dos[0x3c] = 0x40
	return header(t, dos, []byte("PE\x00\x00"), pe.FileHeader{Machine: machine}, make([]byte, 64))
}

// A file that cannot run here says so in words, and what to do.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	good, err := os.ReadFile(program(t, "plugin").Path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		file []byte
		mode os.FileMode
		says []string
	}{
		{"another-arch", elfFor(t, elf.EM_PPC64), 0o755, []string{"is a program for linux/another processor", "take the file for this one"}},
		{"arm64", elfFor(t, elf.EM_AARCH64), 0o755, []string{"linux/arm64", runtime.GOOS + "/" + runtime.GOARCH}},
		{"windows", peFor(t, pe.IMAGE_FILE_MACHINE_ARM64), 0o755, []string{"windows/arm64", runtime.GOOS + "/" + runtime.GOARCH}},
		{"macos", append([]byte("\xcf\xfa\xed\xfe"), make([]byte, 100)...), 0o755, []string{"darwin", "take the file for this one"}},
		{"half", good[:len(good)/2], 0o755, []string{"cut off", "copy it anew"}},
		{"head", good[:100], 0o755, []string{"cut off", "copy it anew"}},
		{"stripped", cutELF(t), 0o755, []string{"cut off", "copy it anew"}},
		{"text", []byte("a letter"), 0o755, []string{"no program", "copy it anew"}},
		{"empty", nil, 0o755, []string{"is empty", "copy it anew"}},
		{"forbidden", good, 0o600, []string{"may not be run", "chmod +x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			switch {
			case runtime.GOARCH == "arm64" && (c.name == "arm64" || c.name == "windows"):
				t.Skip("such a program runs here")
			case runtime.GOOS != "linux" && (c.name == "forbidden" || c.name == "stripped"):
				t.Skip("it is about Linux")
			}
			p := program(t, "plugin")
			p.Path = filepath.Join(t.TempDir(), c.name+filepath.Ext(p.Path))
			if err := os.WriteFile(p.Path, c.file, c.mode); err != nil {
				t.Fatal(err)
			}
			err := Run(t.Context(), p, func(context.Context, *Process) error {
				t.Error("it runs")
				return nil
			})
			if !errors.Is(err, ErrStart) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Run = %v", err)
			}
			mentions(t, err, append(c.says, p.Path)...)
		})
	}
}

func TestGoodFilesHaveNoFault(t *testing.T) {
	t.Parallel()
	if err := Diagnose(program(t, "plugin").Path); err != nil {
		t.Errorf("a plugin: %v", err)
	}
	if err := Diagnose(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Diagnose(script); err != nil {
		t.Errorf("a script: %v", err)
	}
}
