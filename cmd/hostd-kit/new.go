package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hostd/hostd"
	"github.com/hostd/hostd/cmd/hostd-kit/internal/scaffold"
	"github.com/hostd/hostd/core/sdk"
)

// version of hostd; a release sets it with -ldflags "-X main.version=1.2.3".
var version = "0.1.0-dev" //nolint:gochecknoglobals // the linker needs a variable

func (k *kit) newCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "new",
		Short: "begin a device or sink plugin: a module that builds, with its test",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usage{fmt.Errorf("%s needs device or sink, and a name; see %[1]s --help", cmd.CommandPath())}
		},
	}
	cmd.AddCommand(k.newRoleCommand(sdk.RoleDevice), k.newRoleCommand(sdk.RoleSink))
	return cmd
}

func (k *kit) newRoleCommand(role sdk.Role) *cobra.Command {
	kinds := scaffold.Kinds(role)
	p := &scaffold.Plan{Role: role, Version: version, Source: hostd.Source}
	cmd := &cobra.Command{
		Use:   string(role) + " NAME",
		Short: "write a " + string(role) + " into the new folder NAME: " + strings.Join(kinds, ", "),
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.ExactArgs(1)(cmd, args); err != nil {
				return usage{err}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			p.Name = args[0]
			dir, err := p.Write()
			if err != nil {
				return err
			}
			return k.tellNew(p, dir)
		},
	}
	cmd.Flags().StringVar(&p.Kind, "kind", kinds[0], "one of "+strings.Join(kinds, ", "))
	cmd.Flags().StringVar(&p.Dir, "dir", ".", "folder in which the folder NAME is made")
	cmd.Flags().StringVar(&p.Module, "module", "", "path of the Go module (default example.org/NAME)")
	cmd.Flags().StringVar(&p.SDK, "sdk", "", "folder of an SDK that several plugins share, made if it is not there (default NAME/hostd-sdk)")
	return cmd
}

// tellNew says what was written, and what comes next.
func (k *kit) tellNew(p *scaffold.Plan, dir string) error {
	if k.json {
		return json.NewEncoder(k.out).Encode(map[string]string{"dir": dir, "name": p.Name, "kind": p.Kind, "role": string(p.Role), "module": p.Module})
	}
	_, err := fmt.Fprintf(k.out, "%s is there: %s\nnext: cd %s && go test ./...\n", p.Name, filepath.Join(dir, "main.go"), dir)
	return err
}
