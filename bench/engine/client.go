package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// A client asks an engine.
type client struct{ http http.Client }

func newClient(socket string) *client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &client{http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// do sends a request with a JSON body, or a raw one if it is an io.Reader, and reads a JSON answer into out; an
// io.Writer gets it raw.
func (c *client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	kind := "application/json"
	switch in := in.(type) {
	case nil:
	case io.Reader:
		body, kind = in, "application/x-tar"
	default:
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	if path != "/_ping" {
		path = "/v1.41" + path
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://engine"+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", kind)
	a, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if a.StatusCode >= 300 && a.StatusCode != http.StatusNotModified {
		text, _ := io.ReadAll(io.LimitReader(a.Body, 1000))
		return fmt.Errorf("%s %s: %s: %s", method, path, a.Status, strings.TrimSpace(string(text)))
	}
	switch out := out.(type) {
	case nil:
		_, err = io.Copy(io.Discard, a.Body)
	case io.Writer:
		_, err = io.Copy(out, a.Body)
	default:
		err = json.NewDecoder(a.Body).Decode(out)
	}
	return err
}

type hostConfig struct {
	NetworkMode string `json:"NetworkMode"`
	AutoRemove  bool   `json:"AutoRemove"`
}

type createBody struct {
	Image      string     `json:"Image"`
	Cmd        []string   `json:"Cmd"`
	HostConfig hostConfig `json:"HostConfig"`
}

// create makes a container and returns its id.
func (c *client) create(ctx context.Context, auto bool, cmd ...string) (string, error) {
	var made struct {
		ID string `json:"Id"`
	}
	err := c.do(ctx, "POST", "/containers/create", createBody{imageName, cmd, hostConfig{"none", auto}}, &made)
	return made.ID, err
}

func (c *client) start(ctx context.Context, id string) error {
	return c.do(ctx, "POST", "/containers/"+id+"/start", nil, nil)
}

func (c *client) wait(ctx context.Context, id, condition string) error {
	return c.do(ctx, "POST", "/containers/"+id+"/wait?condition="+condition, nil, nil)
}

func (c *client) remove(ctx context.Context, id string) error {
	return c.do(ctx, "DELETE", "/containers/"+id+"?force=true", nil, nil)
}

// exec runs a command in a container to the end of its output.
func (c *client) exec(ctx context.Context, id string, cmd ...string) error {
	var made struct {
		ID string `json:"Id"`
	}
	body := map[string]any{"AttachStdout": true, "AttachStderr": true, "Cmd": cmd}
	if err := c.do(ctx, "POST", "/containers/"+id+"/exec", body, &made); err != nil {
		return err
	}
	return c.do(ctx, "POST", "/exec/"+made.ID+"/start", map[string]any{"Detach": false, "Tty": false}, nil)
}
