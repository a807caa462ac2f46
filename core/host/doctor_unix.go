//go:build !windows

package host

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// freeSpace is what this account may still write on the disk of the folder, in bytes.
func freeSpace(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

// writers names those besides its owner and the superuser who may write the file or folder. A group with the number of the owner is
// his own.
func writers(path string) (who []string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	mode, own := info.Mode().Perm(), info.Sys()
	if s, known := own.(*syscall.Stat_t); known && mode&0o020 != 0 && s.Gid != 0 && s.Gid != s.Uid {
		name := strconv.FormatUint(uint64(s.Gid), 10)
		if g, err := user.LookupGroupId(name); err == nil {
			name = g.Name
		}
		who = append(who, "the group "+name)
	}
	if mode&0o002 != 0 {
		who = append(who, "everybody")
	}
	return who, nil
}

// serialPorts names the serial ports of this computer that somebody has plugged in.
func serialPorts() (names []string) {
	for _, pattern := range []string{"/dev/ttyUSB*", "/dev/ttyACM*", "/dev/ttyAMA*", "/dev/cu.*"} {
		found, err := filepath.Glob(pattern)
		if err == nil {
			names = append(names, found...)
		}
	}
	return names
}

// lookAtSerial is nil when there is such a port and this account may use it. It does not open it: that would reset some instruments.
func lookAtSerial(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeCharDevice == 0 {
		return &fs.PathError{Op: "use", Path: name, Err: errors.New("it is not a device")}
	}
	const readAndWrite = 6
	if err := syscall.Access(name, readAndWrite); err != nil {
		return &fs.PathError{Op: "use", Path: name, Err: err}
	}
	return nil
}
