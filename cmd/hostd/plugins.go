package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/host"
)

func (c *cli) pluginsCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "plugins", Short: "what lies in the plugin folder"})
	cmd.AddCommand(c.pluginsListCommand(), c.pluginsDescribeCommand(), c.pluginsApproveCommand(),
		c.kitCommand("test", "hold a plugin's binary against the contract, in whatever language it was written", "plugins", "test"),
		c.kitCommand("try", "run one plugin alone, and see what it does", "plugins", "try"),
		c.nameCommand("remove", "stop a plugin's devices and sinks; what waits for them is kept, and approve brings it back", "%s is removed; its file may stay in the plugin folder\n", host.RemovePlugin))
	return cmd
}

func (c *cli) pluginsApproveCommand() *cobra.Command {
	var sum string
	cmd := &cobra.Command{
		Use:   "approve NAME -c FILE",
		Short: "let a binary of the plugin folder in: one that is not trusted, crashed too often, or was removed",
		Long: "Let a binary of the plugin folder in that the running host keeps out: because it is not trusted, crashed too often, or was removed.\n" +
			"Compare its sha256, which hostd plugins list prints, with what its maker says before you do. The act is audited.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			done, err := host.Approve(cmd.Context(), cfg, host.ApproveArgs{By: who(), Name: args[0], SHA256: sum})
			if err != nil {
				return err
			}
			return c.answer(host.ApproveArgs{Name: args[0], SHA256: done}, fmt.Sprintf("%s is approved: %s\n", args[0], done))
		},
	}
	cmd.Flags().StringVar(&sum, "sha256", "", "of the binary; without it that of the file in the plugin folder")
	return cmd
}

// besides gives the configuration for commands that need the folders alone: a fault in the rest of it is none of theirs.
func (c *cli) besides() (*config.Config, func(), error) {
	cfg, err := c.load()
	if cfg == nil {
		return nil, nil, err
	}
	release, err := host.HoldPlugins()
	if err != nil {
		return nil, nil, err
	}
	return cfg, release, nil
}

func (c *cli) pluginsListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list -c FILE",
		Short: "name, version, role, state, hash and users of each plugin",
		Long: "Name, version, role, state, hash and users of each plugin, as the running host has them. Without one each program in the plugin folder is\n" +
			"started for a moment and asked.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, release, err := c.besides()
			if err != nil {
				return err
			}
			defer release()
			list, err := host.Plugins(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(list)
			}
			return host.WritePlugins(c.out, list)
		},
	}
}

func (c *cli) pluginsDescribeCommand() *cobra.Command {
	var sample, schema bool
	cmd := &cobra.Command{
		Use:   "describe NAME -c FILE",
		Short: "what a plugin says of itself: its settings, as a sample to copy or as JSON Schema",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if sample && schema {
				return usage{errors.New("--sample and --schema are two answers: ask for one of them")}
			}
			cfg, release, err := c.besides()
			if err != nil {
				return err
			}
			defer release()
			k, err := host.DescribePlugin(cmd.Context(), cfg, args[0])
			switch {
			case err != nil:
				return err
			case sample:
				_, err = fmt.Fprint(c.out, host.Sample(&k.Manifest))
			case schema:
				var text []byte
				if text, err = host.Schema(&k.Manifest); err == nil {
					_, err = fmt.Fprintln(c.out, string(text))
				}
			case c.json:
				err = c.printJSON(k)
			default:
				err = host.WritePlugin(c.out, &k)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&sample, "sample", false, "a commented entry for the configuration")
	cmd.Flags().BoolVar(&schema, "schema", false, "JSON Schema of its settings, for editors")
	return cmd
}
