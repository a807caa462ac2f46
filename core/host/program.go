package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/hostd/hostd/core/internal/pluginstore"
	"github.com/hostd/hostd/core/internal/supervise"
)

// programs looks at the files of the plugin folder, without starting them: those that the configuration names, and others that would be taken
// and cannot run here, or are programs for Windows on another system.
func (dr *doctor) programs(ctx context.Context) (list []Finding) {
	dir := dr.places.plugins
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // the probe of folders says why
	}
	used := usesOf(dr.cfg)
	for _, e := range entries {
		path, name := filepath.Join(dir, e.Name()), pluginstore.NameOf(e)
		if ctx.Err() != nil || name == "" && (!e.Type().IsRegular() || filepath.Ext(e.Name()) != ".exe") {
			continue
		}
		if len(used[name]) > 0 {
			list = append(list, programFinding(path, used[name]))
		} else if err := supervise.Diagnose(path); err != nil {
			list = append(list, Finding{
				probeProgram, path, VerdictWarning, err.Error() + "; nothing uses it as it is",
				fmt.Sprintf("put the whole build for %s/%s there, or delete it", runtime.GOOS, runtime.GOARCH),
			})
		}
	}
	return list
}

func programFinding(path string, users []string) Finding {
	err := supervise.Diagnose(path)
	switch {
	case err == nil:
		return ok(probeProgram, path, "it is a whole program for %s/%s", runtime.GOOS, runtime.GOARCH)
	case errors.Is(err, fs.ErrPermission):
		return faulty(probeProgram, path, err, "let the account that runs hostd read and start it, and see whether an antivirus program holds it")
	}
	return Finding{
		probeProgram, path, VerdictFault, err.Error() + "; used by " + strings.Join(users, ", "),
		fmt.Sprintf("put the whole build of it for %s/%s into %s: whoever makes the plugin has it. Compare its size or hash with the maker's: an antivirus program may have cut it",
			runtime.GOOS, runtime.GOARCH, filepath.Dir(path)),
	}
}
