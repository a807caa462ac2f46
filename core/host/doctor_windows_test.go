package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/windows"

	"github.com/hostd/hostd/config"
)

// Who may write a file is asked of the system.
func TestWritersOfAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nidek.exe")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for rights, want := range map[string]string{"D:P(A;;FA;;;SY)(A;;FA;;;BA)": "", "D:P(A;;FA;;;BA)(A;;FR;;;WD)": "", "D:P(A;;FA;;;SY)(A;;FA;;;WD)": "Everyone"} {
		descriptor, err := windows.SecurityDescriptorFromString(rights)
		if err != nil {
			t.Fatal(err)
		}
		list, _, err := descriptor.DACL()
		if err == nil {
			err = windows.SetNamedSecurityInfo(file, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, list, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		if who, err := writers(file); err != nil || strings.Join(who, ", ") != want {
			t.Errorf("%s: %q, %v, want %q", rights, who, err, want)
		}
	}
}

// What the host makes in a folder of one account can be written by no ordinary user.
func TestNobodyElseWritesTheFoldersOfTheHost(t *testing.T) {
	c := config.Default()
	c.DataDir = filepath.Join(t.TempDir(), "data")
	p, err := newPlaces(c)
	if err == nil {
		err = p.make()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range p.folders() {
		if who, err := writers(dir); err != nil || len(who) > 0 {
			t.Errorf("%s can be written by %q, %v", filepath.Base(dir), who, err)
		}
	}
}
