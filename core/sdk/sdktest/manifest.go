package sdktest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

var (
	version = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)
	snake   = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	plain   = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	// handshake is go-plugin's line: core protocol, our protocol, network, address, grpc, certificate.
	handshake = regexp.MustCompile(`^1\|` + fmt.Sprint(wire.ProtocolVersion) + `\|(unix|tcp)\|[^|]+\|grpc\|[^|]*(\|[^|]*)?$`)
)

// maxWindow is the most batches that the host keeps open.
const maxWindow = 8

// Rules that devices and sinks share, and what to do.
const (
	manifestRule     = "manifest is complete"
	manifestRemedy   = "fill in sdk.Manifest, and the help of each setting"
	describeRule     = "describes itself without settings"
	describeRemedy   = "make the manifest of constants: it must not depend on settings, files or the time"
	handshakeRule    = "prints only its handshake, and ends with its host"
	handshakeRemedy  = "call serve first in main, print nothing to the standard output (log with slog or Env.Log), and let nothing keep the process at the end of its standard input"
	unknownRule      = "refuses an unknown setting by name"
	unknownRemedy    = "read the settings with Settings.Decode, and return its error from Open"
	wrongRule        = "refuses a setting of the wrong type by name"
	wrongRemedy      = "read the settings with Settings.Decode, and return its error from Open: it names the setting and never its value"
	boundsRule       = "refuses a setting that is missing or out of its bounds by name"
	boundsRemedy     = "say required, min, max and enum in the struct's tags, read the settings with Settings.Decode, and return its error from Open"
	reopenRule       = "opens, closes and opens again in one process"
	reopenRemedy     = "make in Open all that Close lets go, and let Close let go of all that Open has made: ports, files, goroutines"
	orderRule        = "takes open and close in any order"
	orderRemedy      = "package serve closes what is open before it opens, and closes nothing twice: in another language do the same; let Open begin anew whatever was before"
	failedOpenRule   = "closes after a failed open"
	failedOpenRemedy = "let Close take a device or sink of which Open has made only a part, or nothing"
	leftRule         = "leaves nothing running when it is closed"
	leftRemedy       = "start goroutines with Env.Go, which are joined at Close; in Close end and await each process that Open or Read has started, and close each file and port"
	logsRule         = "logs what the host can read, and nothing of a patient"
	logsRemedy       = "log with slog or Env.Log: what changes, not each record; of a record its ID, kind and size, never its content, also not in an error"
	printsRule       = "prints nothing while it works"
	printsRemedy     = "the standard output is the host's: log with slog or Env.Log"
	endsRule         = "ends with its host while it works"
	endsRemedy       = "let nothing keep the process at the end of its standard input: package serve ends it after 1 s, unless the program waits for something behind serve"
)

func checkManifest(t testing.TB, binary string, role sdk.Role) {
	t.Helper()
	m := start(t, binary).manifest
	for _, f := range manifestFaults(&m, nameOf(binary), role) {
		t.Error(f)
	}
}

// manifestFaults lists what a manifest lacks.
func manifestFaults(m *sdk.Manifest, name string, role sdk.Role) (faults []string) {
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	fault(m.Name != name || !plain.MatchString(m.Name), "name is %q, want the folder's and binary's name %q: lower-case letters, digits, dashes", m.Name, name)
	fault(!version.MatchString(m.Version), "version %q is not a semantic version such as 1.2.3", m.Version)
	fault(m.Role != role, "role is %q, want %q", m.Role, role)
	fault(m.LossWindow == "", "loss_window is empty: say in words what can be lost")
	if role == sdk.RoleDevice {
		fault(m.Identity == "", "identity is empty: say in words how a record's id comes about")
		fault(m.Window < 0 || m.Window > maxWindow, "window is %d, want 0 to %d", m.Window, maxWindow)
	}
	if m.Every != "" {
		every, err := time.ParseDuration(m.Every)
		fault(err != nil || every <= 0 || !m.Polled, "every is %q: want a time with its unit, of a polled device", m.Every)
	}
	return append(faults, settingFaults(m.Settings)...)
}

// settingFaults lists what the settings lack, and those of their blocks.
func settingFaults(list []sdk.Setting) (faults []string) {
	types := []sdk.SettingType{
		sdk.TypeString, sdk.TypeInt, sdk.TypeFloat, sdk.TypeBool, sdk.TypeDuration, sdk.TypeList, sdk.TypeMap,
		sdk.TypeBlock, sdk.TypeBlocks, sdk.TypeTree,
	}
	for i := range list {
		s := &list[i]
		if !snake.MatchString(s.Name) {
			faults = append(faults, fmt.Sprintf("setting %q is not snake_case", s.Name))
		}
		if s.Help == "" {
			faults = append(faults, fmt.Sprintf("setting %s has no help", s.Name))
		}
		if !slices.Contains(types, s.Type) {
			faults = append(faults, fmt.Sprintf("setting %s has the type %q, which the host does not know", s.Name, s.Type))
		}
		faults = append(faults, settingFaults(s.Fields)...)
	}
	return faults
}

// checkDescribe asks twice, without any Open.
func checkDescribe(t testing.TB, binary string) {
	t.Helper()
	p := start(t, binary)
	var said [2]string
	for i := range said {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		m, err := p.conn.Describe(ctx)
		cancel()
		if err != nil {
			t.Fatalf("describe: %v", err)
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		said[i] = string(b)
	}
	if said[0] != said[1] {
		t.Errorf("describes itself as\n%s\nand then as\n%s", said[0], said[1])
	}
}

// checkHandshake starts the binary with nothing but the cookie, reads all of its standard output, and ends its standard
// input.
func checkHandshake(t testing.TB, binary string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), openTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary)
	cmd.Env = append(os.Environ(), wire.Handshake().MagicCookieKey+"="+wire.Handshake().MagicCookieValue)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start: %v", err)
	}
	text := bufio.NewReader(out)
	first, err := text.ReadString('\n')
	if line := strings.TrimSpace(first); err != nil || !handshake.MatchString(line) {
		t.Errorf("the first line of the standard output is not the handshake: %.200q", line)
	}
	begin := time.Now()
	if err := in.Close(); err != nil {
		t.Fatalf("close standard input: %v", err)
	}
	rest, err := io.ReadAll(text)
	if err != nil {
		t.Errorf("read standard output: %v", err)
	}
	_ = cmd.Wait() // how it ends is its own affair
	if took := time.Since(begin); took > endTime {
		t.Errorf("lives %v after its standard input ended, the limit is %v", took, endTime)
	}
	if len(rest) > 0 {
		t.Errorf("printed to its standard output after the handshake: %.200q", rest)
	}
}

// checkPrinted reports what a plugin printed after its handshake. The process must have been stopped.
func checkPrinted(t testing.TB, p *process) {
	t.Helper()
	for _, line := range p.log.printed() {
		t.Errorf("printed to its standard output: %s", line)
	}
}
