package host

import (
	"bytes"
	"cmp"
	"context"
	"debug/elf"
	"debug/macho"
	"debug/pe"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// format is how a program's file is built, and so the system that runs it.
type format string

// Formats of programs.
const (
	noProgram format = ""
	script    format = "a script"
	elfFormat format = "a Linux program (ELF)"
	peFormat  format = "a Windows program (PE)"
	machoFile format = "a macOS program (Mach-O)"
)

// made is what a program's file is made for, by its headers alone: it is not started.
type made struct {
	format format
	archs  []string // as Go names them, or as the format does
}

// errCut is a program's file of which a part is missing.
var errCut = errors.New("the file is damaged or not whole: it ends before the program does")

// madeFor reads the headers. The error is errCut, or why the file cannot be read.
func madeFor(path string) (made, error) {
	f, err := os.Open(path)
	if err != nil {
		return made{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return made{}, err
	}
	head := make([]byte, 8)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return made{}, err
	}
	return madeOf(f, head[:n], info.Size())
}

// madeOf tells by the first bytes, and reads what they promise.
func madeOf(r io.ReaderAt, head []byte, size int64) (m made, err error) {
	var end uint64 // of what the headers tell of
	switch {
	case bytes.HasPrefix(head, []byte("#!")):
		return made{format: script}, nil
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		m.format = elfFormat
		m.archs, end, err = readELF(r)
	case bytes.HasPrefix(head, []byte("MZ")):
		m.format = peFormat
		m.archs, end, err = readPE(r)
	case isMacho(head):
		m.format = machoFile
		m.archs, end, err = readMacho(r)
	default:
		return made{}, nil
	}
	if err != nil || end > uint64(size) {
		return m, errCut
	}
	return m, nil
}

func readELF(r io.ReaderAt) (archs []string, end uint64, err error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, 0, err
	}
	for _, p := range f.Progs {
		end = max(end, p.Off+p.Filesz)
	}
	names := map[elf.Machine]string{
		elf.EM_X86_64: "amd64", elf.EM_386: "386", elf.EM_AARCH64: "arm64", elf.EM_ARM: "arm", elf.EM_RISCV: "riscv64", elf.EM_S390: "s390x", elf.EM_LOONGARCH: "loong64",
	}
	return []string{cmp.Or(names[f.Machine], f.Machine.String())}, end, nil
}

func readPE(r io.ReaderAt) (archs []string, end uint64, err error) {
	f, err := pe.NewFile(r)
	if err != nil {
		return nil, 0, err
	}
	for _, s := range f.Sections {
		end = max(end, uint64(s.Offset)+uint64(s.Size))
	}
	names := map[uint16]string{
		pe.IMAGE_FILE_MACHINE_AMD64: "amd64", pe.IMAGE_FILE_MACHINE_I386: "386", pe.IMAGE_FILE_MACHINE_ARM64: "arm64", pe.IMAGE_FILE_MACHINE_ARMNT: "arm",
	}
	return []string{cmp.Or(names[f.Machine], fmt.Sprintf("machine %#x", f.Machine))}, end, nil
}

// isMacho knows a program for one processor, which begins with its least byte, and one for several.
func isMacho(head []byte) bool {
	return bytes.HasPrefix(head, []byte{0xcf, 0xfa, 0xed, 0xfe}) || bytes.HasPrefix(head, []byte{0xce, 0xfa, 0xed, 0xfe}) || isFat(head)
}

// isFat: a Java class begins like a program for several processors, with a version of at least 45 in the place of their number.
func isFat(head []byte) bool {
	return len(head) == 8 && bytes.HasPrefix(head, []byte{0xca, 0xfe, 0xba, 0xbe, 0, 0, 0}) && head[7] < 45
}

func readMacho(r io.ReaderAt) (archs []string, end uint64, err error) {
	add := func(f *macho.File, offset uint64) {
		names := map[macho.Cpu]string{macho.CpuAmd64: "amd64", macho.CpuArm64: "arm64", macho.Cpu386: "386", macho.CpuArm: "arm"}
		archs = append(archs, cmp.Or(names[f.Cpu], f.Cpu.String()))
		for _, l := range f.Loads {
			if s, is := l.(*macho.Segment); is {
				end = max(end, offset+s.Offset+s.Filesz)
			}
		}
	}
	f, err := macho.NewFile(r)
	if err == nil {
		add(f, 0)
		return archs, end, nil
	}
	fat, err := macho.NewFatFile(r)
	if err != nil {
		return nil, 0, err
	}
	for _, one := range fat.Arches {
		add(one.File, uint64(one.Offset))
	}
	return archs, end, nil
}

// formatOf is the format of a system's programs.
func formatOf(goos string) format {
	switch goos {
	case "windows":
		return peFormat
	case "darwin":
		return machoFile
	}
	return elfFormat
}

// also are processors whose programs a system runs besides its own, as GOOS/GOARCH; on some computers it does so only when a part of
// the system is installed.
var also = map[string][]string{
	"linux/amd64": {"386"}, "windows/amd64": {"386"}, "windows/arm64": {"amd64", "386", "arm"}, "darwin/arm64": {"amd64"}, "linux/arm64": {"arm"},
	"windows/386": {"amd64"}, // hostd's own build may be the older one
}

// misfit says why a system cannot run the program; empty where it can.
func (m *made) misfit(goos, goarch string) string {
	fits := func(arch string) bool { return arch == goarch || slices.Contains(also[goos+"/"+goarch], arch) }
	if m.format == formatOf(goos) && slices.ContainsFunc(m.archs, fits) || m.format == script && goos != "windows" {
		return ""
	}
	if m.format == noProgram {
		return "it is no program"
	}
	if m.format == script {
		return "it is a script, which Windows does not run"
	}
	return fmt.Sprintf("it is %s for %s, and this computer is %s/%s", m.format, strings.Join(m.archs, " and "), goos, goarch)
}

// misfitError is a program of which its file says already that it cannot be started here.
type misfitError struct{ text, do string }

// Error is what is wrong with the file.
func (e *misfitError) Error() string { return e.text }

// fitting is nil when the plugin's file is a whole program for this computer that may be started, an misfitError when it is not, and
// any other error when it cannot be read. It is not started.
func fitting(path string) error {
	m, err := madeFor(path)
	dir, name := filepath.Split(path)
	switch {
	case errors.Is(err, errCut):
		return &misfitError{err.Error(), "copy it again, whole, and compare its size or hash with the maker's; an antivirus program may have cut it"}
	case err != nil:
		return err
	}
	if text := m.misfit(runtime.GOOS, runtime.GOARCH); text != "" {
		return &misfitError{text, fmt.Sprintf("put the build of %s for %s/%s into %s; whoever makes the plugin has it",
			strings.TrimSuffix(name, ".exe"), runtime.GOOS, runtime.GOARCH, filepath.Clean(dir))}
	}
	info, err := os.Stat(path)
	if err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o111 == 0 {
		return &misfitError{"it may not be started: the file has no right to execute", "chmod +x " + path}
	}
	return err
}

// programs looks at the files of the plugin folder, without starting them: those that the configuration names, and others that are
// programs for another computer.
func (dr *doctor) programs(ctx context.Context) (list []Finding) {
	dir := dr.places.plugins
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // the probe of folders says why
	}
	used := usesOf(dr.cfg)
	for _, e := range entries {
		path, name := filepath.Join(dir, e.Name()), strings.TrimSuffix(e.Name(), ".exe")
		if !e.Type().IsRegular() || ctx.Err() != nil || name == "hostd" {
			continue
		}
		own, err := dr.places.program(name)
		if err == nil && own == path && len(used[name]) > 0 {
			list = append(list, programFinding(path, used[name]))
			continue
		}
		m, err := madeFor(path)
		text := m.misfit(runtime.GOOS, runtime.GOARCH)
		if errors.Is(err, errCut) {
			text = err.Error()
		}
		if m.format != noProgram && text != "" {
			list = append(list, Finding{
				probeProgram, path, VerdictWarning, text + "; nothing uses it as it is",
				fmt.Sprintf("put the whole build for %s/%s there, or delete it", runtime.GOOS, runtime.GOARCH),
			})
		}
	}
	return list
}

func programFinding(path string, users []string) Finding {
	var no *misfitError
	switch err := fitting(path); {
	case err == nil:
		return ok(probeProgram, path, "it is a whole program for %s/%s", runtime.GOOS, runtime.GOARCH)
	case errors.As(err, &no):
		return Finding{probeProgram, path, VerdictFault, no.text + "; used by " + strings.Join(users, ", "), no.do}
	case errors.Is(err, fs.ErrPermission):
		return faulty(probeProgram, path, err, "let the account that runs hostd read and start it")
	default:
		return faulty(probeProgram, path, err, "see whether an antivirus program holds the file, and copy it again")
	}
}
