package share_test

import (
	"errors"
	"io/fs"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/hostd/hostd/core/sdk/share"
)

func TestRoot(t *testing.T) {
	for path, want := range map[string]string{
		`\\server\share\a\b`: `\\server\share`, `//server/share`: `\\server\share`, `\\?\UNC\server\share\x`: `\\server\share`,
		`D:\out`: "", `/srv/out`: "", `\\server`: "", `\\server\`: "", `\\.\pipe\x`: "", `\\?\D:\out`: "", "out": "", "": "", `\\`: "",
	} {
		if got := share.Root(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// TestWords holds that a wrong login, a right that is missing and a network that is away are told apart, each with advice.
func TestWords(t *testing.T) {
	for number, want := range map[uintptr]string{
		5: "no right here", 53: "cannot be reached", 67: "no share of this name", 64: "is gone", 86: "user name or the password", 1326: "user name or the password",
		1219: "as another user", 1272: "SMB 1", 1327: "may not log on", 1330: "expired", 1331: "disabled", 1909: "locked out",
	} {
		wrong, do := share.Words(number)
		if !strings.Contains(wrong, want) || do == "" {
			t.Errorf("%d: %q %q, want %q", number, wrong, do, want)
		}
	}
	if wrong, do := share.Words(2); wrong+do != "" {
		t.Errorf("a file that is not there: %q %q", wrong, do)
	}
}

// TestExplain holds that numbers mean what they mean on Windows only: 5 is another error elsewhere.
func TestExplain(t *testing.T) {
	wrong, _ := share.Explain(&fs.PathError{Op: "open", Path: "x", Err: syscall.Errno(5)})
	if (wrong != "") != (runtime.GOOS == "windows") {
		t.Errorf("%q", wrong)
	}
	if wrong, do := share.Explain(errors.New("odd")); wrong+do != "" {
		t.Errorf("%q %q", wrong, do)
	}
	if err := share.Connect(`\\localhost\nobody`, "nobody", "x"); err == nil || runtime.GOOS != "windows" && !errors.Is(err, share.ErrNotWindows) {
		t.Errorf("%v", err)
	}
}
