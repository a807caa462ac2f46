package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// every has a setting of each type.
type every struct {
	Port    string            `setting:"port,required" help:"serial port"`
	Pass    string            `setting:"pass,secret"`
	Model   string            `setting:"model" default:"ark" enum:"ark,lm,nt"`
	Rate    int               `setting:"rate" default:"9600" unit:"baud" min:"300" max:"115200"`
	Offset  int64             `setting:"offset" min:"-5"`
	Factor  float64           `setting:"factor" default:"0.5" max:"1"`
	Fast    bool              `setting:"fast" default:"true"`
	Wait    time.Duration     `setting:"wait" default:"5s" min:"0.5" max:"60"`
	Names   []string          `setting:"names" default:"a,b"`
	Labels  map[string]string `setting:"labels"`
	private int
}

func number(f float64) *float64 { return &f }

func TestDescribe(t *testing.T) {
	want := []sdk.Setting{
		{Name: "port", Type: sdk.TypeString, Required: true, Help: "serial port"},
		{Name: "pass", Type: sdk.TypeString, Secret: true},
		{Name: "model", Type: sdk.TypeString, Default: "ark", Enum: []string{"ark", "lm", "nt"}},
		{Name: "rate", Type: sdk.TypeInt, Default: "9600", Unit: "baud", Min: number(300), Max: number(115200)},
		{Name: "offset", Type: sdk.TypeInt, Min: number(-5)},
		{Name: "factor", Type: sdk.TypeFloat, Default: "0.5", Max: number(1)},
		{Name: "fast", Type: sdk.TypeBool, Default: "true"},
		{Name: "wait", Type: sdk.TypeDuration, Default: "5s", Min: number(0.5), Max: number(60)},
		{Name: "names", Type: sdk.TypeList, Default: "a,b"},
		{Name: "labels", Type: sdk.TypeMap},
	}
	for _, v := range []any{every{}, &every{}} {
		got, err := sdk.Describe(v)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Describe(%T) = %+v, %v", v, got, err)
		}
	}
	for _, v := range []any{nil, 3, func() {}, struct{ A int }{}} {
		if got, err := sdk.Describe(v); got != nil || err != nil {
			t.Errorf("Describe(%T) = %v, %v; want nothing", v, got, err)
		}
	}
}

func TestDescribeNamesAuthorsMistakes(t *testing.T) {
	for _, c := range []struct {
		name string
		v    any
		says string
	}{
		{"type", struct {
			F uint8 `setting:"f"`
		}{}, "uint8"},
		{"word", struct {
			F int `setting:"f,requierd"`
		}{}, `"requierd"`},
		{"no name", struct {
			F int `setting:",required"`
		}{}, "name"},
		{"unexported", struct {
			f int `setting:"f"`
		}{}, "exported"},
		{"bound", struct {
			F int `setting:"f" min:"few"`
		}{}, "min"},
		{"default of another type", struct {
			F int `setting:"f" default:"many"`
		}{}, "whole number"},
		{"default out of bounds", struct {
			F int `setting:"f" default:"9" max:"8"`
		}{}, "at most 8"},
		{"default not in enum", struct {
			F string `setting:"f" default:"x" enum:"a,b"`
		}{}, "a, b"},
	} {
		if _, err := sdk.Describe(c.v); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: Describe = %v, want %q in it", c.name, err, c.says)
		}
	}
}

func TestDecode(t *testing.T) {
	defaults := every{Port: "COM3", Model: "ark", Rate: 9600, Factor: 0.5, Fast: true, Wait: 5 * time.Second, Names: []string{"a", "b"}}
	full := every{
		Port: "COM4", Pass: "p", Model: "lm", Rate: 300, Offset: -5, Factor: 1, Fast: false, Wait: time.Minute,
		Names: []string{"x"}, Labels: map[string]string{"k": "v"},
	}
	for _, c := range []struct {
		name, json string
		want       every
	}{
		{"defaults", `{"port":"COM3"}`, defaults},
		{"all", `{"port":"COM4","pass":"p","model":"lm","rate":300,"offset":-5,"factor":1,"fast":false,"wait":"1m","names":["x"],"labels":{"k":"v"}}`, full},
		{"numbers as they may be written", `{"port":"COM3","rate":9.6e3,"factor":5e-1,"offset":0}`, defaults},
	} {
		got := full // of an Open before
		if err := sdk.NewSettings([]byte(c.json)).Decode(&got); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
}

// What was decoded before does not shine through, and the plugin may change what it got.
func TestDecodeAgain(t *testing.T) {
	v := every{private: 7}
	first := sdk.NewSettings([]byte(`{"port":"COM3","labels":{"k":"v"},"names":["x"],"offset":3}`))
	if err := first.Decode(&v); err != nil {
		t.Fatal(err)
	}
	v.Labels["k"], v.Names[0] = "changed", "changed"
	for _, json := range []string{`{"port":"COM4"}`, `{"port":"COM4"}`} {
		if err := sdk.NewSettings([]byte(json)).Decode(&v); err != nil {
			t.Fatal(err)
		}
		if v.Labels != nil || v.Offset != 0 || v.Port != "COM4" || v.private != 7 || !reflect.DeepEqual(v.Names, []string{"a", "b"}) {
			t.Errorf("after the second decoding: %+v", v)
		}
		v.Names[0] = "changed"
	}
}

func TestDecodeNeedsAStruct(t *testing.T) {
	if err := sdk.NewSettings(nil).Decode(every{}); err == nil {
		t.Error("Decode into a copy gave no error")
	}
	for _, json := range []string{"", " \n", "{}"} {
		var v struct {
			F int `setting:"f" default:"3"`
		}
		if err := sdk.NewSettings([]byte(json)).Decode(&v); err != nil || v.F != 3 {
			t.Errorf("%q: %+v, %v", json, v, err)
		}
	}
}

func TestDecodeNamesEveryFault(t *testing.T) {
	before := every{Port: "before", Rate: 1}
	v := before
	err := sdk.NewSettings([]byte(`{"pass":1,"model":"MARKED","rate":"MARKED","wait":"MARKED","names":"MARKED","labels":{"MARKED":3},"prot":"MARKED"}`)).Decode(&v)
	if !errors.Is(err, sdk.ErrSettings) {
		t.Fatalf("Decode = %v, want ErrSettings", err)
	}
	for _, key := range []string{"port", "pass", "model", "rate", "wait", "names", "labels", "prot"} {
		if !strings.Contains(err.Error(), key+": ") {
			t.Errorf("the error does not name %s: %v", key, err)
		}
	}
	if strings.Contains(err.Error(), "MARKED") {
		t.Errorf("the error quotes a value: %v", err)
	}
	var fault sdk.SettingFault
	if !errors.As(err, &fault) || fault.Key == "" {
		t.Errorf("no SettingFault in %v", err)
	}
	if !reflect.DeepEqual(v, before) {
		t.Errorf("a failed decoding left %+v", v)
	}
	for _, json := range []string{`[1]`, `{"port":"MARKED`, `{"port":"MARKED"} {}`, `{"port":"MARKED"} MARKED`, `MARKED`, `"MARKED"`} {
		if err := sdk.NewSettings([]byte(json)).Decode(&v); !errors.Is(err, sdk.ErrSettings) || strings.Contains(err.Error(), "MARKED") {
			t.Errorf("%s: %v, want ErrSettings and no value", json, err)
		}
	}
}

// TestCheckSettings has one value of each wrong sort for each type, marked, so that no fault may quote it.
func TestCheckSettings(t *testing.T) {
	const mark = "MARKED-4711"
	list, err := sdk.Describe(every{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		key   string
		value any
		says  string // empty: it is right
	}{
		{"port", "COM3", ""},
		{"port", "", "must not be empty"},
		{"port", 4711, "must be text"},
		{"port", nil, "is empty"},
		{"model", "nt", ""},
		{"model", mark, "must be one of ark, lm, nt"},
		{"model", "", "must be one of"},
		{"pass", "", ""},
		{"pass", true, "must be text"},
		{"rate", 300, ""},
		{"rate", int64(300), ""},
		{"rate", uint64(300), ""},
		{"rate", 300.0, ""},
		{"rate", json.Number("300"), ""},
		{"rate", json.Number("3e2"), ""},
		{"rate", json.Number("300.5"), "whole number (baud)"},
		{"rate", 4711.5, "whole number (baud)"},
		{"rate", 299, "must be 300 to 115200 (baud)"},
		{"rate", json.Number("115201"), "must be 300 to 115200 (baud)"},
		{"rate", "4711", "whole number"},
		{"rate", true, "whole number"},
		{"rate", json.Number("1e400"), "whole number"},
		{"offset", -5, ""},
		{"offset", -6, "at least -5"},
		{"offset", json.Number("9007199254740995"), "whole number"}, // beyond what a float64 holds
		{"factor", 1, ""},
		{"factor", json.Number("0.25"), ""},
		{"factor", 1.5, "at most 1"},
		{"factor", mark, "must be a number"},
		{"factor", json.Number("NaN"), "must be a number"},
		{"fast", false, ""},
		{"fast", "true", "true or false"},
		{"fast", 1, "true or false"},
		{"wait", "500ms", ""},
		{"wait", "499ms", "must be 500ms to 1m0s"},
		{"wait", "61s", "must be 500ms to 1m0s"},
		{"wait", 4711, "with its unit"},
		{"wait", mark, "with its unit"},
		{"names", []any{}, ""},
		{"names", []string{"x"}, ""},
		{"names", []any{"x", 4711}, "list of texts"},
		{"names", mark, "list of texts"},
		{"labels", map[string]any{"k": "v"}, ""},
		{"labels", map[string]any{mark: 4711}, "map of texts"},
		{"labels", []any{mark}, "map of texts"},
		{"rates", mark, "unknown setting"},
	} {
		values := map[string]any{"port": "COM3"}
		values[c.key] = c.value
		faults := sdk.CheckSettings(list, values)
		switch {
		case c.says == "" && len(faults) == 0:
		case c.says == "":
			t.Errorf("%s: %v (%T): %v", c.key, c.value, c.value, faults)
		case len(faults) != 1 || faults[0].Key != c.key || !strings.Contains(faults[0].Text, c.says):
			t.Errorf("%s: %v (%T): faults %v, want %q", c.key, c.value, c.value, faults, c.says)
		case strings.Contains(faults[0].Error(), "4711"):
			t.Errorf("%s: the fault quotes the value: %v", c.key, faults[0])
		}
	}
}

func TestCheckSettingsSortsAllFaults(t *testing.T) {
	list, err := sdk.Describe(every{})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, f := range sdk.CheckSettings(list, map[string]any{"zebra": 1, "wait": 1, "fast": 1, "apple": 1, "rate": "x"}) {
		keys = append(keys, f.Key)
	}
	if want := []string{"apple", "fast", "port", "rate", "wait", "zebra"}; !reflect.DeepEqual(keys, want) {
		t.Errorf("faults of %v, want %v", keys, want)
	}
	odd := []sdk.Setting{{Name: "x", Type: "colour"}}
	if f := sdk.CheckSettings(odd, map[string]any{"x": "red"}); len(f) != 1 || !strings.Contains(f[0].Text, `"colour"`) {
		t.Errorf("a type of a newer plugin: %v", f)
	}
}

// row and nested are settings in blocks.
type row struct {
	Name  string         `setting:"name,required" help:"of the table"`
	Most  int            `setting:"most" default:"7" max:"9"`
	Where where          `setting:"where"`
	Cells map[string]any `setting:"cells" help:"anything"`
}

type where struct {
	Eyes []string `setting:"eyes" default:"R,L"`
	Kind string   `setting:"kind" enum:"exam,document"`
}

type nested struct {
	Title string `setting:"title"`
	Where where  `setting:"where" help:"which"`
	Rows  []row  `setting:"rows,required" help:"one for each"`
}

func TestDescribeBlocks(t *testing.T) {
	inWhere := []sdk.Setting{
		{Name: "eyes", Type: sdk.TypeList, Default: "R,L"},
		{Name: "kind", Type: sdk.TypeString, Enum: []string{"exam", "document"}},
	}
	want := []sdk.Setting{
		{Name: "title", Type: sdk.TypeString},
		{Name: "where", Type: sdk.TypeBlock, Help: "which", Fields: inWhere},
		{Name: "rows", Type: sdk.TypeBlocks, Required: true, Help: "one for each", Fields: []sdk.Setting{
			{Name: "name", Type: sdk.TypeString, Required: true, Help: "of the table"},
			{Name: "most", Type: sdk.TypeInt, Default: "7", Max: number(9)},
			{Name: "where", Type: sdk.TypeBlock, Fields: inWhere},
			{Name: "cells", Type: sdk.TypeTree, Help: "anything"},
		}},
	}
	got, err := sdk.Describe(&nested{})
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Describe = %+v, %v", got, err)
	}
	b, err := json.Marshal(got) // as a manifest brings it to the host
	if err != nil {
		t.Fatal(err)
	}
	var back []sdk.Setting
	if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back, want) {
		t.Errorf("over the wire: %+v, %v", back, err)
	}
}

func TestDescribeNamesMistakesInBlocks(t *testing.T) {
	type endless struct {
		More []endless `setting:"more"`
	}
	for _, c := range []struct {
		name string
		v    any
		says string
	}{
		{"inside", struct {
			B []struct {
				F uint8 `setting:"f"`
			} `setting:"b"`
		}{}, "field F: a setting cannot be a uint8"},
		{"secret inside", struct {
			B struct {
				F string `setting:"f,secret"`
			} `setting:"b"`
		}{}, "a secret must stand outside of blocks"},
		{"default", struct {
			B where `setting:"b" default:"x"`
		}{}, "no default of its own"},
		{"secret", struct {
			B where `setting:"b,secret"`
		}{}, "no secret"},
		{"a struct without settings", struct {
			B time.Time `setting:"b"`
		}{}, "cannot be a time.Time"},
		{"endless", endless{}, "more than 4 deep"},
		{"map of blocks", struct {
			B map[string]where `setting:"b"`
		}{}, "cannot be a map"},
	} {
		if _, err := sdk.Describe(c.v); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: Describe = %v, want %q in it", c.name, err, c.says)
		}
	}
}

func TestDecodeBlocks(t *testing.T) {
	both := where{Eyes: []string{"R", "L"}}
	for _, c := range []struct {
		name, json string
		want       nested
	}{
		{"defaults", `{"rows":[{"name":"a"}]}`, nested{Where: both, Rows: []row{{Name: "a", Most: 7, Where: both}}}},
		{
			"all", `{"title":"t","where":{"kind":"exam"},"rows":[{"name":"a","most":9,"where":{"eyes":["B"],"kind":"document"},"cells":{"c":{"d":[1,"x",true,null]}}},{"name":"b"}]}`,
			nested{Title: "t", Where: where{Eyes: []string{"R", "L"}, Kind: "exam"}, Rows: []row{
				{Name: "a", Most: 9, Where: where{Eyes: []string{"B"}, Kind: "document"}, Cells: map[string]any{"c": map[string]any{"d": []any{json.Number("1"), "x", true, nil}}}},
				{Name: "b", Most: 7, Where: both},
			}},
		},
	} {
		got := nested{Title: "before", Rows: make([]row, 3)}
		if err := sdk.NewSettings([]byte(c.json)).Decode(&got); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
}

func TestCheckSettingsInBlocks(t *testing.T) {
	list, err := sdk.Describe(nested{})
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	text := `{"titel":1,"where":{"kind":"MARKED","eyes":"MARKED"},"rows":[{"name":"a"},{"nmae":"MARKED","most":10},"MARKED",{"name":null,"where":[],"cells":["MARKED"]}]}`
	if err := json.Unmarshal([]byte(text), &values); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range sdk.CheckSettings(list, values) {
		got = append(got, f.Error())
	}
	want := []string{
		"rows[1].most: must be at most 9",
		"rows[1].name: is required: of the table",
		"rows[1].nmae: unknown setting; known: name, most, where, cells",
		"rows[2]: must be a block: write its keys below it, each with its value",
		"rows[3].cells: must be a block: write its keys below it, each with its value",
		"rows[3].name: is empty: write a value, or leave the key out",
		"rows[3].where: must be a block: write its keys below it, each with its value",
		"titel: unknown setting",
		"where.eyes: must be a list of texts: write [one, two]",
		"where.kind: must be one of exam, document",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var v struct {
		Rows []row `setting:"rows"`
	}
	if err := sdk.NewSettings(nil).Decode(&v); err != nil || v.Rows != nil {
		t.Errorf("without rows: %+v, %v", v, err)
	}
	for _, rows := range []any{"MARKED", map[string]any{}, []any{}, nil} {
		if f := sdk.CheckSettings(list, map[string]any{"rows": rows}); len(f) != 1 || f[0].Key != "rows" || strings.Contains(f[0].Text, "MARKED") {
			t.Errorf("rows %v: %v", rows, f)
		}
	}
}

func TestPoll(t *testing.T) {
	ready := errors.New("port is gone")
	for _, c := range []struct {
		name  string
		after int // calls that give io.EOF
		err   error
	}{{"at once", 0, nil}, {"third look", 2, nil}, {"error", 1, ready}} {
		synctest.Test(t, func(t *testing.T) {
			begin, calls := time.Now(), 0
			b, err := sdk.Poll(t.Context(), func() (sdk.Batch, error) {
				if calls++; calls <= c.after {
					return sdk.Batch{Next: "ignored"}, errors.Join(errors.New("nothing yet"), io.EOF)
				}
				return sdk.Batch{Next: "7"}, c.err
			})
			if !errors.Is(err, c.err) || b.Next != "7" || time.Since(begin) != time.Duration(c.after)*time.Second {
				t.Errorf("%s: Poll = %v, %v after %s", c.name, b, err, time.Since(begin))
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		calls := 0
		b, err := sdk.Poll(ctx, func() (sdk.Batch, error) { calls++; return sdk.Batch{Next: "x"}, io.EOF })
		if !errors.Is(err, context.DeadlineExceeded) || b.Next != "" || calls != 3 {
			t.Errorf("Poll = %v, %v after %d calls", b, err, calls)
		}
	})
}
