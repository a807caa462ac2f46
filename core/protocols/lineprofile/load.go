package lineprofile

import (
	"bytes"
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxProfile is the most bytes of a profile.
const MaxProfile = 64 << 10

// Fault is one thing that is wrong with a profile.
type Fault struct {
	Line int    // in the YAML, from 1
	Text string // what is wrong, and what to write
}

// Faults are all that is wrong with a profile, in the order of its lines.
type Faults []Fault

// Error has a line of text for each fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fmt.Sprintf("line %d: %s", fault.Line, fault.Text)
	}
	return strings.Join(lines, "\n")
}

//go:embed profiles/*.yaml
var shipped embed.FS

// Shipped are the names of the profiles that come with the package, sorted.
func Shipped() []string {
	list, err := shipped.ReadDir("profiles")
	if err != nil {
		return nil // there is such a folder, see the line above
	}
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = strings.TrimSuffix(e.Name(), ".yaml")
	}
	return names
}

// Named is a profile that comes with the package. The error names those that there are.
func Named(name string) (*Profile, error) {
	text, err := shipped.ReadFile("profiles/" + name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("profile %q is unknown: there are %s", name, strings.Join(Shipped(), ", "))
	}
	return Load(text)
}

// Load reads a profile of YAML. An error is Faults: all of them at once.
func Load(text []byte) (*Profile, error) {
	if len(text) > MaxProfile {
		return nil, Faults{{1, "a profile has at most 64 KiB"}}
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, Faults{faultOf(err.Error())}
	}
	c := checker{root: &root, p: &Profile{}}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	var wrong *yaml.TypeError
	switch err := d.Decode(c.p); {
	case errors.Is(err, io.EOF):
		return nil, Faults{{1, "the profile is empty"}}
	case errors.As(err, &wrong):
		for _, text := range wrong.Errors {
			c.faults = append(c.faults, faultOf(text))
		}
	case err != nil:
		c.faults = append(c.faults, faultOf(err.Error()))
	}
	if err := d.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		c.add("a file has one profile: what follows --- is left over")
	}
	c.check()
	if len(c.faults) == 0 {
		c.p.begin = c.p.begins()
		c.checkSample()
	}
	if len(c.faults) > 0 {
		slices.SortStableFunc(c.faults, func(a, b Fault) int { return cmp.Compare(a.Line, b.Line) })
		return nil, c.faults
	}
	return c.p, nil
}

var (
	atLine       = regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors:\s*)?line (\d+): `)
	unknownField = regexp.MustCompile(`^field (\S+) not found in type lineprofile\.(\w+)$`)
	wrongType    = regexp.MustCompile("^cannot unmarshal (\\S+)(?: `.*`)? into (\\S+)$")
)

// faultOf says in our words what the YAML library found.
func faultOf(text string) Fault {
	f := Fault{Line: 1, Text: strings.TrimPrefix(text, "yaml: ")}
	if at := atLine.FindStringSubmatch(text); at != nil {
		f.Line, _ = strconv.Atoi(at[1]) // digits
		f.Text = text[len(at[0]):]
	}
	if m := unknownField.FindStringSubmatch(f.Text); m != nil {
		f.Text = "unknown key " + m[1] + ": there are " + strings.Join(keysOf(m[2]), ", ")
	} else if m := wrongType.FindStringSubmatch(f.Text); m != nil {
		f.Text = "the value has the wrong type: " + wanted(m[2])
	}
	return f
}

func keysOf(name string) (keys []string) {
	for _, t := range []reflect.Type{
		reflect.TypeFor[Profile](), reflect.TypeFor[Line](), reflect.TypeFor[Frame](), reflect.TypeFor[Checksum](), reflect.TypeFor[Rule](), reflect.TypeFor[Field](),
	} {
		for i := range t.NumField() {
			if key := t.Field(i).Tag.Get("yaml"); t.Name() == name && key != "" {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

func wanted(goType string) string {
	switch {
	case goType == "int":
		return "write a whole number"
	case goType == "float64":
		return "write a number"
	case goType == "string", goType == "*string":
		return "write a text"
	case goType == "time.Duration":
		return "write a time with its unit, such as 200ms"
	case strings.HasPrefix(goType, "[]"):
		return "write a list: [a, b], or a line with a dash for each"
	}
	return "write a block of keys"
}

// checker looks for what is wrong with a profile that was read.
type checker struct {
	root   *yaml.Node
	p      *Profile
	faults Faults
}

// add notes a fault at the place to which the path of keys and indexes leads, as far as there is one.
func (c *checker) add(text string, path ...any) {
	at := c.root
	if len(at.Content) > 0 {
		at = at.Content[0]
	}
	line := max(at.Line, 1)
	for _, step := range path {
		if at = child(at, step); at == nil {
			break
		}
		line = at.Line
	}
	c.faults = append(c.faults, Fault{Line: line, Text: text})
}

func child(n *yaml.Node, step any) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if i, ok := step.(int); ok {
		if n.Kind != yaml.SequenceNode || i >= len(n.Content) {
			return nil
		}
		return n.Content[i]
	}
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == step {
			return n.Content[i+1]
		}
	}
	return nil
}
