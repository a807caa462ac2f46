// Peer plays the destination of a shipped sink to `hostd plugins test`. docs/contract.md has what it prints and is told.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

func main() {
	p, err := begin(os.Args[1])
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

func begin(plugin string) (*peer, error) {
	dir, err := os.MkdirTemp("", plugin)
	if err != nil {
		return nil, err
	}
	no := func(string, int) (string, error) { return "no", nil }
	switch plugin {
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
