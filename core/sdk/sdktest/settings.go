package sdktest

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/sdk"
)

// absent is the value of a setting that is to be left out.
type absent struct{}

// merged are the settings with more over them.
func merged(settings, more map[string]any) map[string]any {
	all := map[string]any{}
	maps.Copy(all, settings)
	maps.Copy(all, more)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == absent{} })
	return all
}

// settingsJSON is one JSON object.
func settingsJSON(t testing.TB, settings map[string]any) []byte {
	t.Helper()
	b, err := json.Marshal(settings)
	if err != nil {
		t.Fatalf("encode settings: %v", err)
	}
	return b
}

// fits says whether the settings are ones that the manifest takes.
func fits(m *sdk.Manifest, settings map[string]any) bool {
	return len(sdk.CheckSettings(m.Settings, settings)) == 0
}

// unquoted is a value that no error may quote: it may be a password.
const unquoted = "do-not-quote-5981"

// refused tries to open with a setting that is wrong in a way that is told in words.
func refused(t testing.TB, what, key string, value any, open func(more map[string]any) error) {
	t.Helper()
	err := open(map[string]any{key: value})
	switch {
	case err == nil:
		t.Errorf("Open took %s %s", what, key)
	case !strings.Contains(err.Error(), key):
		t.Errorf("Open refused %s %s without naming it: %v", what, key, err)
	case strings.Contains(err.Error(), unquoted):
		t.Errorf("Open refused %s %s and quoted the value, which may be a secret: %v", what, key, err)
	}
}

// checkUnknownSetting tries a key that no plugin has.
func checkUnknownSetting(t testing.TB, open func(more map[string]any) error) {
	t.Helper()
	refused(t, "the unknown setting", "no_such_setting", unquoted, open)
}

// checkWrongType tries a value that no setting of the type can have.
func checkWrongType(t testing.TB, settings []sdk.Setting, open func(more map[string]any) error) {
	t.Helper()
	for i := range settings {
		s := &settings[i]
		var wrong any = map[string]any{unquoted: []any{unquoted}}
		if s.Type == sdk.TypeMap || s.Type == sdk.TypeBlock || s.Type == sdk.TypeTree {
			wrong = unquoted
		}
		refused(t, "a value of the wrong type for the setting", s.Name, wrong, open)
	}
}

// checkBounds leaves required settings out, and goes beyond the bounds that the manifest names.
func checkBounds(t testing.TB, settings []sdk.Setting, open func(more map[string]any) error) {
	t.Helper()
	tried := false
	try := func(what string, s *sdk.Setting, value any) {
		tried = true
		refused(t, what, s.Name, value, open)
	}
	for i := range settings {
		s := &settings[i]
		if s.Required {
			try("settings without the required one", s, absent{})
		}
		if len(s.Enum) > 0 && s.Type == sdk.TypeString {
			try("a value that is none of those of the setting", s, unquoted)
		}
		if s.Type != sdk.TypeInt && s.Type != sdk.TypeFloat {
			continue
		}
		if s.Min != nil {
			try("a value below the least one of the setting", s, *s.Min-1)
		}
		if s.Max != nil {
			try("a value above the largest one of the setting", s, *s.Max+1)
		}
	}
	if !tried {
		t.Skip("no setting is required or has bounds")
	}
}
