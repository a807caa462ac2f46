package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hostd/hostd/core/sdk/share"
)

// shares looks whether the folders of devices can be read, where their setting is called dir: as the user of the device where one
// is written, else as this account.
func (dr *doctor) shares(ctx context.Context) (list []Finding) {
	for i := range dr.cfg.Devices {
		text := func(key string) string {
			s, _ := dr.cfg.Devices[i].Settings[key].(string)
			return s
		}
		if text("dir") == "" || ctx.Err() != nil {
			continue
		}
		dir, err := filepath.Abs(text("dir"))
		if err == nil && text("user") != "" {
			err = share.Connect(dir, text("user"), text("password"))
		}
		if err == nil {
			err = readable(dir)
		}
		list = append(list, shareFinding(dr.cfg.Devices[i].Name, dir, text("user") != "", err))
	}
	return list
}

// readable is nil when the folder can be listed.
func readable(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = f.Readdirnames(1); errors.Is(err, io.EOF) {
		return nil // an empty folder
	}
	return err
}

// shareFinding says what became of reading the folder of a device, as a user of its own or as this account.
func shareFinding(device, dir string, own bool, err error) Finding {
	subject := "device " + device
	if err == nil {
		who := "this account"
		if own {
			who = "its user"
		}
		f := ok(probeShare, subject, "%s can be read by %s", dir, who)
		if share.Root(dir) != "" && !own {
			f.Text += "; hostd reads it as the account of its service, which has its own rights on the share, or none (LocalSystem, LocalService)"
		}
		return f
	}
	f := Finding{probeShare, subject, VerdictFault, "", ""}
	wrong, do := share.Explain(err)
	switch {
	case wrong != "":
		f.Text, f.Do = fmt.Sprintf("%s: %s", dir, wrong), do
	case errors.Is(err, share.ErrNotWindows):
		f.Text, f.Do = err.Error(), "leave out user and password, mount the share and write its folder as settings.dir"
	case errors.Is(err, fs.ErrNotExist):
		f.Text, f.Do = dir+" is not there", "make the folder, or write the one into which the instrument writes as settings.dir"
	case errors.Is(err, fs.ErrPermission):
		f.Text, f.Do = dir+" may not be read by this account", "give the account that runs hostd the right to read and change the folder"
	default:
		f.Text, f.Do = strings.ReplaceAll(err.Error(), "\n", "; "), "see whether the folder's disk, share and network are up"
	}
	return f
}
