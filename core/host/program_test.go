package host

import (
	"bytes"
	"debug/elf"
	"debug/macho"
	"debug/pe"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// packed writes the parts behind each other.
func packed(t *testing.T, order binary.ByteOrder, parts ...any) string {
	t.Helper()
	var b bytes.Buffer
	for _, p := range parts {
		if err := binary.Write(&b, order, p); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// elfFor, peFor and machoFor are headers of programs, and nothing else.
func elfFor(t *testing.T, m elf.Machine, order binary.ByteOrder, size uint64) string {
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(m), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1}
	data := elf.ELFDATA2LSB
	if order == binary.BigEndian {
		data = elf.ELFDATA2MSB
	}
	copy(h.Ident[:], elf.ELFMAG+string([]byte{byte(elf.ELFCLASS64), byte(data), byte(elf.EV_CURRENT)}))
	return packed(t, order, h, elf.Prog64{Type: uint32(elf.PT_LOAD), Filesz: size})
}

func peFor(t *testing.T, machine uint16) string {
	var dos [64]byte
	copy(dos[:], "MZ")
	dos[0x3c] = 64
	return packed(t, binary.LittleEndian, dos, []byte("PE\x00\x00"), pe.FileHeader{Machine: machine}, [64]byte{})
}

func machoFor(t *testing.T, cpu macho.Cpu) string {
	return packed(t, binary.LittleEndian, macho.FileHeader{Magic: macho.Magic64, Cpu: cpu, Type: macho.TypeExec}, uint32(0))
}

// The header of a program's file says on which computers it runs.
func TestProgramsForAllComputers(t *testing.T) {
	const linux, windows, mac = "linux/amd64", "windows/amd64", "darwin/arm64"
	fat := packed(t, binary.BigEndian, macho.MagicFat, uint32(1), macho.FatArchHeader{Cpu: macho.CpuArm64, Offset: 4096, Size: 32})
	fat += strings.Repeat("\x00", 4096-len(fat)) + machoFor(t, macho.CpuArm64)
	for name, c := range map[string]struct {
		file string
		runs string // systems that run it
		says string // of the others
		cut  bool
	}{
		"elf":         {elfFor(t, elf.EM_X86_64, binary.LittleEndian, 120), linux, "a Linux program (ELF) for amd64", false},
		"elf, 32 bit": {elfFor(t, elf.EM_386, binary.LittleEndian, 120), linux, "for 386", false},
		"elf, arm":    {elfFor(t, elf.EM_AARCH64, binary.LittleEndian, 120), "", "a Linux program (ELF) for arm64", false},
		"elf, big":    {elfFor(t, elf.EM_S390, binary.BigEndian, 120), "", "for s390x", false},
		"elf, other":  {elfFor(t, elf.EM_AVR, binary.LittleEndian, 120), "", "for EM_AVR", false},
		"elf, short":  {elfFor(t, elf.EM_X86_64, binary.LittleEndian, 121), "", "", true},
		"elf, head":   {elfFor(t, elf.EM_X86_64, binary.LittleEndian, 120)[:40], "", "", true},
		"pe":          {peFor(t, pe.IMAGE_FILE_MACHINE_AMD64), windows, "a Windows program (PE) for amd64", false},
		"pe, 32 bit":  {peFor(t, pe.IMAGE_FILE_MACHINE_I386), windows, "for 386", false},
		"pe, arm":     {peFor(t, pe.IMAGE_FILE_MACHINE_ARM64), "", "for arm64", false},
		"pe, head":    {peFor(t, pe.IMAGE_FILE_MACHINE_AMD64)[:66], "", "", true},
		"mach-o":      {machoFor(t, macho.CpuArm64), mac, "a macOS program (Mach-O) for arm64", false},
		"mach-o, old": {machoFor(t, macho.CpuAmd64), mac, "for amd64", false},
		"fat":         {fat, mac, "a macOS program (Mach-O) for arm64", false},
		"script":      {"#!/bin/sh\n", linux + " " + mac, "a script", false},
		"page":        {"<html>404", "", "it is no program", false},
		"java":        {"\xca\xfe\xba\xbe\x00\x00\x00\x34", "", "it is no program", false},
		"nothing":     {"", "", "it is no program", false},
	} {
		m, err := madeOf(strings.NewReader(c.file), []byte(c.file[:min(len(c.file), 8)]), int64(len(c.file)))
		if errors.Is(err, errCut) != c.cut || err != nil && !c.cut {
			t.Errorf("%s: %v", name, err)
		}
		if c.cut {
			continue
		}
		for _, system := range []string{linux, windows, mac} {
			goos, goarch, _ := strings.Cut(system, "/")
			text := m.misfit(goos, goarch)
			if runs := strings.Contains(c.runs, system); runs != (text == "") || !runs && !strings.Contains(text, c.says) {
				t.Errorf("%s on %s: %q", name, system, text)
			}
		}
	}
}

// This test's own program fits this computer, and none of its first bytes alone do.
func TestProgramsThatWereCut(t *testing.T) {
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := fitting(own); err != nil {
		t.Errorf("the test itself: %v", err)
	}
	whole, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "half")
	for _, size := range []int{0, 3, 20, 64, 200, 1000, len(whole) / 2} {
		if err := os.WriteFile(path, whole[:size], 0o700); err != nil {
			t.Fatal(err)
		}
		var no *misfitError
		if err := fitting(path); !errors.As(err, &no) || no.do == "" {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if runtime.GOOS == "windows" {
		return
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	var no *misfitError
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := fitting(path); !errors.As(err, &no) || no.do != "chmod +x "+path {
		t.Errorf("without the right to execute: %v", err)
	}
}

// Who may write is read from the text form of a descriptor: entries for what is made inside do not count, nor do rights to read.
func TestWritersInADescriptor(t *testing.T) {
	for descriptor, want := range map[string]string{
		"D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1200a9;;;BU)":          "",
		"D:AI(A;ID;FA;;;BA)(A;OICIID;0x1301bf;;;AU)(A;OICIIOID;SDGXGWGR;;;BU)": "Authenticated Users",
		"D:(A;;FA;;;WD)(A;;FA;;;BU)(A;OICI;FA;;;BU)":                           "Everyone, Users",
		"D:(A;CI;LC;;;BU)(A;CIIO;DC;;;BU)":                                     "",
		"D:(A;;0x100002;;;BU)(A;;0x100004;;;WD)":                               "Users",
		"D:(A;CI;DCLC;;;BU)":                                                   "Users",
		"D:(A;;FRFX;;;WD)(D;;FA;;;BU)":                                         "",
		"D:(A;;GW;;;IU)":                                                       "Interactive",
		"D:(A;;FA;;;S-1-5-21-1-2-3-1001)":                                      "",
		"D:NO_ACCESS_CONTROL":                                                  "Everyone",
		"D:P":                                                                  "",
		"":                                                                     "Everyone",
		"D:PAI(A;OICI;FA;;;SY)(A;OICI;0x00100026;;;DU)(XA;;FA;;;WD;(@User.x == 1))(A;;WDWO;;;BG)": "Domain Users, Guests",
	} {
		if got := strings.Join(writersIn(descriptor), ", "); got != want {
			t.Errorf("%s: %q, want %q", descriptor, got, want)
		}
	}
}
