package sdk_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/sdktest"
)

// inbox is a polled device: it reads the files of a folder one by one, and deletes a file when its record is safe.
type inbox struct {
	Dir string `setting:"dir,required" help:"folder into which the instrument writes"`
}

func (d *inbox) Open(ctx context.Context, env sdk.Env, from sdk.Position) error {
	if err := env.Settings.Decode(d); err != nil {
		return err
	}
	return d.Ack(ctx, from) // a crash may have come between the host's disk and the deletion
}

func (d *inbox) Read(context.Context) (sdk.Batch, error) {
	files, err := os.ReadDir(d.Dir)
	if err != nil || len(files) == 0 {
		return sdk.Batch{}, err
	}
	name := files[0].Name()
	data, err := os.ReadFile(filepath.Join(d.Dir, name))
	if err != nil {
		return sdk.Batch{}, err
	}
	r := sdk.Record{ID: name, Kind: "document", ContentType: "text/plain", Data: data}
	return sdk.Batch{Records: []sdk.Record{r}, Next: sdk.Position(name)}, nil
}

func (d *inbox) Ack(_ context.Context, upTo sdk.Position) error {
	if upTo == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(d.Dir, string(upTo))); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *inbox) Close(context.Context) error { return nil }

// A polled device is read when it is due, and again until it returns an empty batch.
func Example_polledDevice() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "inbox")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "exam-1.txt"), []byte("R -1.25"), 0o600); err != nil {
		panic(err)
	}
	settings, _ := json.Marshal(map[string]any{"dir": dir})
	d := &inbox{}
	fmt.Println("open:", d.Open(ctx, sdk.Env{Settings: sdk.NewSettings(settings)}, ""))
	b, err := d.Read(ctx)
	fmt.Println("read:", b.Records[0].ID, string(b.Records[0].Data), err)
	fmt.Println("ack:", d.Ack(ctx, b.Next))
	b, err = d.Read(ctx)
	fmt.Println("read:", len(b.Records), err)
	// Output:
	// open: <nil>
	// read: exam-1.txt R -1.25 <nil>
	// ack: <nil>
	// read: 0 <nil>
}

// scale is a listening device on a line: each line is a measurement, after which the instrument waits for ACK, and which it sends
// again after NAK. Its numbers make a line that comes again the same record.
type scale struct {
	line net.Conn
	in   *bufio.Reader
}

const ack, nak = "\x06", "\x15"

func (d *scale) Open(_ context.Context, _ sdk.Env, _ sdk.Position) error {
	d.in = bufio.NewReader(d.line) // a driver connects here
	return nil
}

// Read ends with ctx: serve closes the device then, and the line with it.
func (d *scale) Read(context.Context) (sdk.Batch, error) {
	text, err := d.in.ReadString('\n')
	if err != nil {
		return sdk.Batch{}, err
	}
	var number int
	if _, err := fmt.Sscanf(text, "%d ", &number); err != nil {
		return sdk.Batch{Records: []sdk.Record{{
			ID: fmt.Sprintf("reject-%x", sha256.Sum256([]byte(text))), Kind: sdk.KindReject, Labels: map[string]string{sdk.LabelReason: "malformed"}, Raw: []byte(text),
		}}, Next: "reject"}, nil
	}
	r := sdk.Record{ID: fmt.Sprintf("weight-%d", number), Kind: "weight", ContentType: "text/plain", Data: []byte(text)}
	return sdk.Batch{Records: []sdk.Record{r}, Next: sdk.Offset(int64(number))}, nil
}

func (d *scale) Ack(context.Context, sdk.Position) error {
	_, err := io.WriteString(d.line, ack)
	return err
}

// Refuse makes it a sdk.Refuser: the negative answer of its protocol.
func (d *scale) Refuse(context.Context, sdk.Position, sdk.Reason) error {
	_, err := io.WriteString(d.line, nak)
	return err
}

func (d *scale) Close(context.Context) error { return d.line.Close() }

// A listening device waits in Read, and answers its instrument in Ack and Refuse, never before.
func Example_listeningDevice() {
	ctx := context.Background()
	instrument, line := net.Pipe()
	d := &scale{line: line}
	if err := d.Open(ctx, sdk.Env{}, ""); err != nil {
		panic(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		answer := make([]byte, 1)
		for range 2 {
			io.WriteString(instrument, "7 62.5 kg\n")
			io.ReadFull(instrument, answer)
			fmt.Printf("instrument hears %q\n", answer)
		}
	}()
	b, _ := d.Read(ctx)
	fmt.Println(b.Records[0].ID)
	if err := d.Refuse(ctx, b.Next, sdk.ReasonFull); err != nil {
		panic(err)
	}
	b, _ = d.Read(ctx)
	if err := d.Ack(ctx, b.Next); err != nil {
		panic(err)
	}
	<-done
	fmt.Println(b.Records[0].ID, d.Close(ctx))
	// Output:
	// weight-7
	// instrument hears "\x15"
	// instrument hears "\x06"
	// weight-7 <nil>
}

// chart is a sink that writes a row for each record, once, and refuses for good what has no content.
type chart struct{ store sdk.Store }

func (s *chart) Open(_ context.Context, env sdk.SinkEnv) error {
	s.store = env.Store
	return nil
}

func (s *chart) Write(ctx context.Context, records []sdk.Record) error {
	refused := sdk.RecordErrors{}
	var changes []sdk.Change
	for i := range records {
		r := &records[i]
		if len(r.Data) == 0 {
			refused[i] = sdk.Permanent(errors.New("record has no content"))
			continue
		}
		changes = append(changes, sdk.OnceFor(r, sdk.Insert{Table: "chart", Rows: []sdk.Row{{"id": r.ID, "content": string(r.Data)}}}))
	}
	if _, err := s.store.Write(ctx, changes...); err != nil {
		return err // none was written, and they come again
	}
	if len(refused) > 0 {
		return refused
	}
	return nil
}

func (s *chart) Close(context.Context) error { return nil }

// A sink that uses the host's database leaves a receipt with each row, so that a record which comes again is not stored again.
func Example_sink() {
	ctx := context.Background()
	store := &sdktest.Store{}
	s := &chart{}
	if err := s.Open(ctx, sdk.SinkEnv{Store: store}); err != nil {
		panic(err)
	}
	records := []sdk.Record{{ID: "a", Data: []byte("one")}, {ID: "b"}, {ID: "c", Data: []byte("three")}}
	fmt.Println(s.Write(ctx, records))
	fmt.Println(s.Write(ctx, records[:1]))
	fmt.Println(store.IDs())
	// Output:
	// 1 records refused; record 1: record has no content
	// <nil>
	// [a c]
}

// The settings of a plugin are the tagged fields of its struct; the host checks them before it opens the device.
func ExampleDescribe() {
	list, err := sdk.Describe(&inbox{})
	fmt.Println(list[0].Name, list[0].Type, list[0].Required, err)
	// Output: dir string true <nil>
}
