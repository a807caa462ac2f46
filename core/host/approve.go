package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/admin"
	"github.com/hostd/hostd/core/internal/supervise"
)

// States of a plugin, in lists of them.
const (
	PluginRuns       = "runs"        // the binary of the folder is the one that runs, or would
	PluginOld        = "old"         // another version runs than the one in the folder, see the reason
	PluginIdle       = "idle"        // nothing uses it
	PluginWaiting    = "waiting"     // it cannot be read yet
	PluginNotTaken   = "not_taken"   // it does not say what it is, or does not fit
	PluginUnapproved = "unapproved"  // it is not trusted
	PluginRolledBack = "rolled_back" // it crashed again and again, and the version before runs
	PluginRemoved    = "removed"     // by an operator
)

// Codes of alarms about plugins.
const (
	alarmNotTaken   = "plugin_not_taken"
	alarmUnapproved = "plugin_unapproved"
	alarmRolledBack = "plugin_rolled_back"
)

// ApproveArgs let a binary in.
type ApproveArgs struct {
	By     string `json:"by"`
	Name   string `json:"name"`
	SHA256 string `json:"sha256,omitempty"` // empty: that of the file in the plugin folder
}

// pluginState says how a plugin stands, and why, where it is not simply running.
func (h *Host) pluginState(name string) (state, why string) {
	store := h.dropins.store
	p, n := store.Known(name), h.dropins.reason(name)
	switch {
	case p.Removed:
		return PluginRemoved, fmt.Sprintf("hostd plugins approve %s brings it back", name)
	case p.Seen != nil && p.Seen.Untrusted != "":
		return PluginUnapproved, p.Seen.Untrusted
	case p.Seen != nil && p.Refused[p.Seen.SHA256] != "":
		return PluginRolledBack, p.Refused[p.Seen.SHA256]
	case n.text != "" && n.later, n.text == "" && store.Waiting(name) != "":
		return PluginWaiting, cmp.Or(n.text, store.Waiting(name))
	case n.text != "":
		return PluginNotTaken, n.text
	case p.Current == nil && p.Seen == nil:
		return PluginNotTaken, fmt.Sprintf("there is no plugin %s in %s", name, h.places.plugins)
	case p.Current == nil:
		return PluginIdle, ""
	case p.Seen != nil && p.Seen.SHA256 != p.Current.SHA256:
		return PluginOld, "the file in the plugin folder is about to be taken"
	}
	return PluginRuns, ""
}

// lacking is the state of a device or sink without a binary.
func (h *Host) lacking(plugin string) (supervise.State, string) {
	state, why := h.pluginState(plugin)
	switch state {
	case PluginRemoved:
		return supervise.State(admin.Removed), "its plugin was removed; " + why
	case PluginUnapproved:
		return supervise.State(admin.Unapproved), why
	}
	return supervise.Failing, why
}

// pluginAlarms are what a person should look at.
func (h *Host) pluginAlarms() (list []admin.Alarm) {
	for _, name := range h.dropins.store.Names() {
		state, why := h.pluginState(name)
		code := map[string]string{PluginNotTaken: alarmNotTaken, PluginUnapproved: alarmUnapproved, PluginRolledBack: alarmRolledBack}[state]
		switch code {
		case "":
			continue
		case alarmRolledBack:
			why = fmt.Sprintf("the version in the plugin folder is not used any more (%s), and the one before runs: put a newer one there, or hostd plugins approve %s", why, name)
		}
		list = append(list, admin.Alarm{Code: code, Subject: name, Text: why})
	}
	return list
}

// plugins is the list for operators.
func (h *Host) plugins() (list []Plugin) {
	cfg := h.now().cfg
	used, names := usesOf(cfg), slices.Concat(h.dropins.store.Names(), pluginsOf(cfg))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		p := h.dropins.store.Known(name)
		k := Plugin{Name: name, UsedBy: used[name]}
		k.State, k.Error = h.pluginState(name)
		switch {
		case p.Current != nil:
			k.Manifest, k.SHA256 = p.Current.Manifest, p.Current.SHA256
		case p.Seen != nil:
			if k.SHA256 = p.Seen.SHA256; p.Seen.Idle != nil {
				k.Manifest = *p.Seen.Idle
			}
		}
		if p.Previous != nil {
			k.Previous = p.Previous.Manifest.Version
		}
		list = append(list, k)
	}
	return list
}

// approve lets a binary in whatever it was kept out for.
func (h *Host) approve(a ApproveArgs) (ApproveArgs, error) {
	store := h.dropins.store
	p := store.Known(a.Name)
	if a.SHA256 == "" && p.Seen != nil {
		a.SHA256 = p.Seen.SHA256
	}
	if a.SHA256 == "" && p.Current != nil {
		a.SHA256 = p.Current.SHA256
	}
	if a.SHA256 == "" {
		return a, fmt.Errorf("there is no plugin %s in %s: put it there, or name its sha256", a.Name, h.places.plugins)
	}
	if err := h.audit.note(a.By, opApprove, a); err != nil {
		return a, err
	}
	if err := store.Approve(a.Name, a.SHA256); err != nil {
		return a, err
	}
	h.dropins.settle(a.Name)
	return a, h.exchangeNow(a.Name, a.By)
}

// removePlugin keeps a plugin from running. What waits for its devices and sinks is kept.
func (h *Host) removePlugin(a NameArgs) error {
	if p := h.dropins.store.Known(a.Name); p.Current == nil && p.Seen == nil {
		return fmt.Errorf("there is no plugin %s", a.Name)
	}
	if err := h.audit.note(a.By, opRemove, a); err != nil {
		return err
	}
	if err := h.dropins.store.Remove(a.Name); err != nil {
		return err
	}
	h.dropins.settle(a.Name)
	return h.exchangeNow(a.Name, a.By)
}

func (h *Host) exchangeNow(plugin, by string) error {
	err := h.exchange(plugin, by)
	if errors.Is(err, errStopping) {
		return nil // it holds from the next start on
	}
	return err
}

// Approve asks the running host to let a binary of the plugin folder in: one that is not trusted, crashed too often, or was removed. It
// gives the hash that it let in.
func Approve(ctx context.Context, c *config.Config, a ApproveArgs) (sum string, err error) {
	var done ApproveArgs
	err = ask(ctx, c, opApprove, a, &done)
	return done.SHA256, err
}

// RemovePlugin asks the running host not to run a plugin any more, until Approve.
func RemovePlugin(ctx context.Context, c *config.Config, a NameArgs) error {
	return ask(ctx, c, opRemove, a, nil)
}
