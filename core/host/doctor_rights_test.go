package host

import (
	"bytes"
	"debug/elf"
	"debug/pe"
	"encoding/binary"
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

// elfFor and peFor are headers of programs, and nothing else.
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
