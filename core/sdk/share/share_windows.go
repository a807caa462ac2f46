package share

import (
	"fmt"
	"syscall"
	"unsafe"
)

// netResource is NETRESOURCEW (Microsoft, winnetwk.h).
type netResource struct {
	scope, kind, displayType, usage    uint32
	localName, remoteName, comment, by *uint16
}

// Of WNetAddConnection2W: a resource of disks, and a connection that is not made again at the next logon.
const (
	resourceDisk     = 1
	connectTemporary = 4
)

// Connect logs on to the share of dir, a UNC path, for all programs of this account's session; a share that is logged on to
// as this user already is well. An error is that of Windows, see Explain; it names neither user nor password.
func Connect(dir, user, password string) error {
	var text [3]*uint16
	for i, s := range []string{Root(dir), user, password} {
		p, err := syscall.UTF16PtrFromString(s)
		if err != nil {
			return fmt.Errorf("connect share: %w", err)
		}
		text[i] = p
	}
	r := netResource{kind: resourceDisk, remoteName: text[0]}
	code, _, _ := syscall.NewLazyDLL("mpr.dll").NewProc("WNetAddConnection2W").Call(
		uintptr(unsafe.Pointer(&r)), uintptr(unsafe.Pointer(text[2])), uintptr(unsafe.Pointer(text[1])), connectTemporary)
	if code != 0 {
		return fmt.Errorf("connect share: %w", syscall.Errno(code))
	}
	return nil
}
