package supervise

import (
	"bytes"
	"debug/elf"
	"debug/pe"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
)

// Diagnose says what is wrong with a plugin's file as such, and what to do; nil where nothing is to be seen. It is an
// fs.ErrNotExist where there is no file.
func Diagnose(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read its file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("read its file: %w", err)
	case !info.Mode().IsRegular():
		return errors.New("it is no file")
	case info.Size() == 0:
		return errors.New("its file is empty: copy it anew")
	}
	head := make([]byte, 4)
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read its file: %w", err)
	}
	switch {
	case bytes.Equal(head, []byte(elf.ELFMAG)):
		err = diagnoseELF(f, info.Size())
	case bytes.HasPrefix(head, []byte("MZ")):
		err = diagnosePE(f, info.Size())
	case slices.ContainsFunc(machO, func(magic string) bool { return string(head) == magic }):
		err = foreign("darwin", runtime.GOARCH)
	case runtime.GOOS != "windows" && bytes.HasPrefix(head, []byte("#!")):
	default:
		return errors.New("its file is no program: copy it anew")
	}
	if err == nil && runtime.GOOS != "windows" && info.Mode()&0o111 == 0 {
		return fmt.Errorf("its file may not be run: chmod +x %s", path)
	}
	return err
}

// machO begin the programs of macOS.
var machO = []string{"\xcf\xfa\xed\xfe", "\xfe\xed\xfa\xcf", "\xca\xfe\xba\xbe"}

// errCut is a file whose end is missing.
var errCut = errors.New("its file is cut off: it was not copied to its end, or the disk was full; copy it anew")

func diagnoseELF(f io.ReaderAt, size int64) error {
	p, err := elf.NewFile(f)
	if err != nil {
		return errCut
	}
	arch := map[elf.Machine]string{
		elf.EM_X86_64: "amd64", elf.EM_386: "386", elf.EM_AARCH64: "arm64", elf.EM_ARM: "arm", elf.EM_RISCV: "riscv64",
	}[p.Machine]
	if err := foreign("linux", arch); err != nil {
		return err
	}
	for _, part := range p.Progs {
		if part.Off+part.Filesz > uint64(size) {
			return errCut
		}
	}
	return nil
}

func diagnosePE(f io.ReaderAt, size int64) error {
	p, err := pe.NewFile(f)
	if err != nil {
		return errCut
	}
	arch := map[uint16]string{
		pe.IMAGE_FILE_MACHINE_AMD64: "amd64", pe.IMAGE_FILE_MACHINE_I386: "386", pe.IMAGE_FILE_MACHINE_ARM64: "arm64",
	}[p.Machine]
	if err := foreign("windows", arch); err != nil {
		return err
	}
	for _, part := range p.Sections {
		if int64(part.Offset)+int64(part.Size) > size {
			return errCut
		}
	}
	return nil
}

// foreign is an error for a program that cannot run here. Processors run the programs of their forerunners.
func foreign(system, arch string) error {
	older := map[string][]string{"amd64": {"386"}, "arm64": {"arm", "386", "amd64"}}[runtime.GOARCH]
	if system == runtime.GOOS && (arch == runtime.GOARCH || slices.Contains(older, arch)) {
		return nil
	}
	if arch == "" {
		arch = "another processor"
	}
	return fmt.Errorf("its file is a program for %s/%s, and this computer is %s/%s: take the file for this one", system, arch, runtime.GOOS, runtime.GOARCH)
}
