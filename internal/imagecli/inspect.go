package imagecli

import (
	"encoding/json"
	"os"
	"time"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/store"
)

// inspected is an image in the fields and spelling of docker inspect, and ours in a group of
// their own.
type inspected struct {
	ID           string `json:"Id"` // digest of the config, as docker has it
	RepoTags     []string
	RepoDigests  []string
	Comment      string
	Created      *time.Time `json:",omitempty"`
	Author       string
	Architecture string
	Variant      string `json:",omitempty"`
	Os           string
	OsVersion    string `json:",omitempty"`
	Size         int64  // bytes of all files, each counted once
	Config       json.RawMessage
	RootFS       inspectedFS
	Tare         inspectedTare
}

type inspectedFS struct {
	Type   string
	Layers []digest.Digest
}

type inspectedTare struct {
	Digest      digest.Digest     `json:"digest"` // of the manifest
	MediaType   string            `json:"mediaType,omitempty"`
	Files       int               `json:"files"`
	Objects     int               `json:"objects"`
	ObjectBytes int64             `json:"objectBytes"`
	TreeBytes   int64             `json:"treeBytes"`
	Layers      []v1.Descriptor   `json:"layers"` // as they were pulled
	Annotations map[string]string `json:"annotations,omitempty"`
}

func inspectCommand(s *session) cli.Command {
	return cli.Command{
		Name: "inspect", Args: "IMAGE...", MinArgs: 1, MaxArgs: cli.Many,
		Short: "print all about images as JSON",
		Long:  "Print what is known of images as a JSON list, in the fields of docker inspect.",
		Run: s.onStore(func(c *cli.Call, st *store.Store) error {
			all := []inspected{}
			for _, arg := range c.Args {
				i, err := find(st, arg)
				if err != nil {
					return err
				}
				one, err := inspect(i)
				if err != nil {
					return err
				}
				all = append(all, one)
			}
			e := json.NewEncoder(c.Out)
			e.SetIndent("", "    ")
			e.SetEscapeHTML(false)
			return e.Encode(all)
		}),
	}
}

func inspect(i *store.Image) (inspected, error) {
	config, raw, err := i.Config()
	if err != nil {
		return inspected{}, err
	}
	m, _, err := i.Manifest()
	if err != nil {
		return inspected{}, err
	}
	var fields struct {
		Config  json.RawMessage `json:"config"`
		Comment string          `json:"comment"`
	}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return inspected{}, err
	}
	if fields.Config == nil {
		fields.Config = json.RawMessage("null")
	}
	out := inspected{
		ID: m.Config.Digest.String(), RepoTags: []string{}, RepoDigests: []string{},
		Comment: fields.Comment, Created: config.Created, Author: config.Author,
		Architecture: config.Architecture, Variant: config.Variant, Os: config.OS, OsVersion: config.OSVersion,
		Config: fields.Config,
		RootFS: inspectedFS{config.RootFS.Type, config.RootFS.DiffIDs},
		Tare: inspectedTare{
			Digest: i.Digest, MediaType: m.MediaType, Layers: m.Layers, Annotations: m.Annotations,
		},
	}
	out.names(i)
	return out, out.measure(i)
}

// names sorts the image's names into those with a tag and those by digest.
func (o *inspected) names(i *store.Image) {
	seen := map[string]bool{}
	for _, name := range i.Names {
		r, err := reference.Parse(name)
		if err != nil {
			o.RepoTags = append(o.RepoTags, name)
			continue
		}
		if r.Tag != "" {
			r.Digest = ""
			o.RepoTags = append(o.RepoTags, r.Familiar())
		}
		r.Tag, r.Digest = "", i.Digest
		if by := r.Familiar(); !seen[by] {
			seen[by] = true
			o.RepoDigests = append(o.RepoDigests, by)
		}
	}
}

func (o *inspected) measure(i *store.Image) error {
	l, err := describe(i)
	if err != nil {
		return err
	}
	o.Size, o.Tare.Files = l.Size, l.Files
	path, err := i.TreePath()
	if err != nil {
		return err
	}
	tree, err := os.Stat(path)
	if err != nil {
		return err
	}
	o.Tare.TreeBytes = tree.Size()
	seen := map[object.Digest]bool{}
	return i.Objects(func(_ string, d object.Digest, size int64) error {
		if !seen[d] {
			seen[d] = true
			o.Tare.Objects++
			o.Tare.ObjectBytes += size
		}
		return nil
	})
}
