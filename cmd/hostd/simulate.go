package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hostd/hostd/core/host"
)

func (c *cli) simulateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "simulate [-c FILE] NAME [ARGS]",
		Short: "play the instrument of a plugin: NAME is a plugin or a path, ARGS are its own",
		Long: "Play the instrument of a plugin on this terminal until it is done or interrupted. NAME is a plugin of the configuration's plugin folder, one\n" +
			"beside hostd, or a path. What stands behind NAME is the instrument's; hostd simulate NAME --help prints what it takes.",
		Example: "  hostd simulate folder --dir in/topcon --count 3 --misbehave slow,partial",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage{errors.New("simulate needs the name of a plugin; see hostd simulate --help")}
			}
			path, err := c.pluginPath(args[0])
			if err != nil {
				return err
			}
			return c.runProgram(cmd, path, append([]string{"simulate"}, args[1:]...))
		},
	}
	cmd.Flags().SetInterspersed(false) // what stands behind NAME is the plugin's
	return cmd
}

// pluginPath finds a plugin's binary: a path as it is, else in the plugin folder, else beside hostd. Without -c a missing
// configuration is none.
func (c *cli) pluginPath(name string) (string, error) {
	if strings.ContainsAny(name, `/\`) {
		return name, nil
	}
	file := fileOf(name)
	var looked []string
	cfg, err := c.load()
	if cfg == nil && (len(c.files) > 0 || !errors.Is(err, os.ErrNotExist)) {
		return "", err
	}
	if cfg != nil {
		dir, err := host.PluginDir(cfg)
		if err != nil {
			return "", err
		}
		looked = append(looked, dir)
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	looked = append(looked, filepath.Dir(self))
	for _, dir := range looked {
		if info, err := os.Stat(filepath.Join(dir, file)); err == nil && info.Mode().IsRegular() {
			return filepath.Join(dir, file), nil
		}
	}
	return "", host.Environment(fmt.Errorf("there is no plugin %s in %s", name, strings.Join(looked, ", nor in ")))
}
