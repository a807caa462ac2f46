package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/config/dpapi"
	"github.com/hostd/hostd/core/host"
)

// keyArgs are the flags of spool key.
type keyArgs struct {
	file string // that DPAPI protects; empty: the key goes to the standard output alone
	from string // file of a key that is used already; empty: a new one is made
	user bool
}

func (c *cli) spoolKeyCommand() *cobra.Command {
	var a keyArgs
	cmd := &cobra.Command{
		Use:   "key",
		Short: "make a key for spool.key: keep a copy in a safe place, since nothing can be read without it",
		Long: "Make a key for spool.key and print it. Keep a copy in a safe place: nothing can be read without it.\n" +
			"On Windows --dpapi FILE writes it, besides, to a file that only this computer can open; spool.key is '${dpapi:FILE}' then.\n" +
			"With --from that file is made of a key which is used already: of your copy, on a new computer.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return c.spoolKey(a) },
	}
	f := cmd.Flags()
	f.StringVar(&a.file, "dpapi", "", "Windows: a new file for the key, which only this computer can open")
	f.StringVar(&a.from, "from", "", "with --dpapi: the file of a key that is used already")
	f.BoolVar(&a.user, "user", false, "with --dpapi: only the account that runs this command can open it; hostd must run under the same")
	return cmd
}

func (c *cli) spoolKey(a keyArgs) error {
	if a.file == "" && (a.from != "" || a.user) {
		return usage{errors.New("--from and --user go with --dpapi FILE")}
	}
	if a.file != "" {
		if err := dpapi.Supported(); err != nil {
			return host.Environment(fmt.Errorf("--dpapi %w", err))
		}
	}
	key, err := a.key()
	if err != nil {
		return err
	}
	if a.file == "" {
		return c.answer(map[string]string{"key": key}, key+"\n")
	}
	if err := a.protect(key); err != nil {
		return err
	}
	whose := "this computer"
	if a.user {
		whose = "this account on this computer"
	}
	said := a.file + " has the key, and only " + whose + " can open it. In the configuration:\n  spool: {seal: true, key: '${dpapi:" + a.file + "}'}\n"
	if a.from != "" {
		return c.answer(map[string]string{"file": a.file}, said)
	}
	return c.answer(map[string]string{"file": a.file, "key": key},
		said+"Keep this copy in a safe place, away from this computer. When the computer is gone, or Windows is installed anew, nothing can be read without it:\n"+key+"\n")
}

// key is a new key, or the one that the file from holds.
func (a *keyArgs) key() (string, error) {
	if a.from == "" {
		b := make([]byte, 32)
		if _, err := rand.Read(b); err != nil {
			return "", err
		}
		return base64.StdEncoding.EncodeToString(b), nil
	}
	b, err := os.ReadFile(a.from)
	if err != nil {
		return "", host.Environment(fmt.Errorf("read key: %w", err))
	}
	key := strings.TrimSpace(string(b))
	if b, err := (&config.Spool{Key: config.Secret(key)}).KeyBytes(); b == nil || err != nil {
		return "", fmt.Errorf("read key: %s does not hold one: it must be 32 bytes in base64 or hex", a.from)
	}
	return key, nil
}

// protect writes the key to a new file: one that is there may hold a key that is needed. What is written is read back.
func (a *keyArgs) protect(key string) error {
	scope := dpapi.Machine
	if a.user {
		scope = dpapi.User
	}
	content, err := dpapi.Protect([]byte(key), scope)
	if err != nil {
		return host.Environment(err)
	}
	f, err := os.OpenFile(a.file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return host.Environment(fmt.Errorf("make file of the key: %w", err))
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = a.holds(key)
	}
	if err != nil {
		return host.Environment(fmt.Errorf("make file of the key: %w", errors.Join(err, os.Remove(a.file))))
	}
	return nil
}

// holds is nil when the file gives the key back.
func (a *keyArgs) holds(key string) error {
	content, err := os.ReadFile(a.file)
	if err != nil {
		return err
	}
	got, err := dpapi.Open(content)
	if err == nil && string(got) != key {
		err = errors.New("it does not give the key back")
	}
	return err
}
