// Peer plays the other side of a shipped plugin to `hostd plugins test`: the instrument of a device, the destination of
// a sink. docs/contract.md has what it prints and is told.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

func main() {
	p, err := begin(os.Args[1], os.Args[2:])
	if err == nil {
		err = p.play()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// peer is one of them. Do obeys a word and its number; the answer is one line.
type peer struct {
	says map[string]any
	do   func(word string, n int) (string, error)
}

func (p *peer) play() error {
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(p.says); err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		word, number, _ := strings.Cut(lines.Text(), " ")
		n, _ := strconv.Atoi(number) // a word without one has 0
		answer, err := p.do(word, n)
		if err != nil {
			return err
		}
		fmt.Println(answer)
	}
	return lines.Err()
}

func begin(plugin string, args []string) (*peer, error) {
	dir, err := os.MkdirTemp("", plugin)
	if err != nil {
		return nil, err
	}
	no := func(string, int) (string, error) { return "no", nil }
	switch plugin {
	case "generator":
		return &peer{map[string]any{"settings": map[string]any{"count": 2500, "size": 1024}, "records": 2500}, no}, nil
	case "folder":
		sample, err := os.ReadFile(args[0])
		f := &folder{dir: dir, sample: sample}
		return &peer{map[string]any{"settings": map[string]any{"dir": dir, "format": "joia", "settle": "0s"}}, f.do}, err
	case "file":
		bad := map[string]any{"id": "bad-1", "kind": "document", "data": "x", "attachment": strings.Repeat("0", 64)}
		says := map[string]any{"settings": map[string]any{"dir": dir}, "bad": bad}
		return &peer{says, func(word string, _ int) (string, error) { return stored(word, dir) }}, nil
	case "sql": // what it stores is in the database of the suite
		bad := map[string]any{"id": "exam-0", "kind": "exam", "content_type": "application/json", "data": "{}", "raw": "other content"}
		return &peer{map[string]any{"idempotent": true, "receipts": true, "bad": bad}, no}, nil
	}
	return nil, fmt.Errorf("no peer of %s", plugin)
}

// folder is an instrument that writes files.
type folder struct {
	dir    string
	sample []byte
	count  int
}

func (f *folder) do(word string, n int) (string, error) {
	switch word {
	case "produce":
		for range n {
			if err := f.put(0); err != nil {
				return "", err
			}
		}
		return "ok", nil
	case "large":
		if n == 0 {
			return "ok", nil
		}
		return "ok", f.put(n)
	}
	return "no", nil
}

func (f *folder) put(size int) error {
	f.count++
	text := fmt.Sprintf("<!-- %d %s-->", f.count, strings.Repeat("x", size))
	name := filepath.Join(f.dir, fmt.Sprintf("%04d_exam.xml", f.count))
	if err := os.WriteFile(name+".part", append(bytes.Clone(f.sample), text...), 0o600); err != nil {
		return err
	}
	return os.Rename(name+".part", name)
}

// stored gives the ids of the lines in a folder of the file sink.
func stored(word, dir string) (string, error) {
	if word != "stored" {
		return "no", nil
	}
	files, err := filepath.Glob(filepath.Join(dir, "hostd-*.ndjson"))
	if err != nil {
		return "", err
	}
	ids := []string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(string(text)) {
			var r struct {
				ID string `json:"id"`
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				return "", err
			}
			ids = append(ids, r.ID)
		}
	}
	list, err := json.Marshal(ids)
	return string(list), err
}
