package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	clientTimeout = 5 * time.Second
	maxAnswer     = 16 << 20 // bytes
)

// Client asks a running host on the same machine. It keeps no connection between calls.
type Client struct {
	Addr string // host:port of admin.listen
}

// Status is the host now. An error that is ErrUnreachable means that nothing answered.
func (c Client) Status(ctx context.Context) (Status, error) {
	body, code, err := c.call(ctx, http.MethodGet, PathStatus, "")
	if err != nil {
		return Status{}, err
	}
	var s Status
	if code != http.StatusOK {
		return s, fmt.Errorf("ask %s for its status: %s", c.Addr, refusal(code, body))
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return s, fmt.Errorf("read status: is it hostd that listens on %s? %w", c.Addr, err)
	}
	return s, nil
}

// Ready is nil when the host is ready, else what is missing, or ErrUnreachable.
func (c Client) Ready(ctx context.Context) error {
	body, code, err := c.call(ctx, http.MethodGet, PathReady, "")
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("wait for hostd: %s", refusal(code, body))
	}
	return err
}

// Stop begins the host's orderly end; it does not wait for it. The token is the content of the data folder's
// admin.token.
func (c Client) Stop(ctx context.Context, token string) error {
	body, code, err := c.call(ctx, http.MethodPost, PathStop, strings.TrimSpace(token))
	if err == nil && code != http.StatusAccepted {
		err = fmt.Errorf("stop hostd: %s", refusal(code, body))
	}
	return err
}

// Do asks the host for an operation, waits for its end, and reads its answer into answer, which may be nil. The error is
// the operation's own text, or ErrUnreachable.
func (c Client) Do(ctx context.Context, token, name string, args, answer any) error {
	sent, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("ask hostd: %w", err)
	}
	body, code, err := c.send(ctx, http.MethodPost, PathDo+name, strings.TrimSpace(token), sent)
	if err != nil {
		return err
	}
	if code != http.StatusOK {
		return fmt.Errorf("%s", bytes.TrimSpace(body))
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}

func refusal(code int, body []byte) string {
	return fmt.Sprintf("%d: %.300s", code, bytes.TrimSpace(body))
}

func (c Client) call(ctx context.Context, method, path, token string) (body []byte, code int, err error) {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	return c.send(ctx, method, path, token, nil)
}

func (c Client) send(ctx context.Context, method, path, token string, args []byte) (body []byte, code int, err error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.Addr+path, bytes.NewReader(args))
	if err != nil {
		return nil, 0, fmt.Errorf("ask hostd: %w", err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{DisableKeepAlives: true} // of this call, and without a proxy: the host is on this machine
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("ask hostd at %s: %w: is it running? %w", c.Addr, ErrUnreachable, err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, 0, fmt.Errorf("read hostd's answer: %w", err)
	}
	return body, resp.StatusCode, nil
}
