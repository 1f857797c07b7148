package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/visible"
)

// support are the commands for support.
type support struct {
	Bundle supportBundle `cmd:"" settings:"*" help:"Collect what support needs into a tar.gz: version, settings, the result of check, and the state of worker and journal. It holds no secret: no token, code, address, key or password."`
}

// bundledRows is the maximum length of the lists in a bundle.
const bundledRows = 1000

type supportBundle struct {
	outputFlag
	File string `name:"file" short:"f" group:"command" placeholder:"FILE" help:"A file that does not exist yet; default: invoicebox-worker-support-TIME.tar.gz in the working directory."`
}

type bundleJSON struct {
	File    string        `json:"file"`
	Bytes   int64         `json:"bytes"`
	Members []bundledJSON `json:"members"`
}

type bundledJSON struct {
	Name  string `json:"name"`
	Bytes int    `json:"bytes"`
	Error string `json:"error,omitzero"` // why it is not in the bundle
}

// A bundled is a member of a bundle.
type bundled struct {
	name    string
	collect func(context.Context) ([]byte, error)
}

// Run writes a bundle. A member that cannot be collected is an error in the list, and the
// others are still collected: a bundle is needed most when something does not work.
func (c *supportBundle) Run(ctx context.Context, s *settings, env environment) error {
	path := c.File
	if path == "" {
		path = "invoicebox-worker-support-" + time.Now().UTC().Format("20060102T150405Z") + ".tar.gz"
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- the operator names the file
	if err != nil {
		return fmt.Errorf("%s cannot be created: %s", path, config.ErrorText(err))
	}
	result := bundleJSON{File: path}
	result.Members, err = writeBundle(ctx, file, c.members(s), filepath.Base(strings.TrimSuffix(path, ".tar.gz")))
	if err == nil {
		err = file.Sync()
	}
	if info, statErr := file.Stat(); statErr == nil {
		result.Bytes = info.Size()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("%s cannot be written: %s", path, config.ErrorText(err))
	}
	return c.write(env.stdout, result, func(w io.Writer) {
		var rows [][]any
		for _, m := range result.Members {
			rows = append(rows, []any{m.Name, m.Bytes, m.Error})
		}
		printTable(w, []any{"member", "bytes", "error"}, rows, "")
		_, _ = fmt.Fprintf(w, "\n%s: %d bytes\n", path, result.Bytes)
	})
}

// writeBundle collects the members and writes them into a folder of an archive.
func writeBundle(ctx context.Context, to io.Writer, members []bundled, folder string) (list []bundledJSON, err error) {
	zip := gzip.NewWriter(to)
	archive := tar.NewWriter(zip)
	add := func(name string, doc []byte) error {
		if err := archive.WriteHeader(&tar.Header{Name: folder + "/" + name, Mode: 0o600, Size: int64(len(doc)), ModTime: time.Now().Truncate(time.Second), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		_, err := archive.Write(doc)
		return err
	}
	for _, m := range members {
		within, cancel := context.WithTimeout(ctx, time.Minute)
		doc, err := m.collect(within)
		cancel()
		entry := bundledJSON{Name: m.name, Bytes: len(doc)}
		if err != nil {
			entry.Error = err.Error()
		}
		list = append(list, entry)
		if err != nil && len(doc) == 0 {
			continue
		}
		if err := add(m.name, doc); err != nil {
			return list, err
		}
	}
	index, err := marshal(list)
	if err != nil {
		return list, err
	}
	return list, errors.Join(add("members.json", index), archive.Close(), zip.Close())
}

// members lists the members of a bundle. Most of them contain the output of a command or a
// page of the listener.
func (c *supportBundle) members(s *settings) []bundled {
	asJSON := outputFlag{Output: "json"}
	rows := bundledRows
	page := pageFlags{Limit: &rows}
	command := func(run func(context.Context, environment) error) func(context.Context) ([]byte, error) {
		return func(ctx context.Context) ([]byte, error) {
			var out, log bytes.Buffer
			err := run(ctx, environment{stdout: &out, stderr: &log})
			return out.Bytes(), err
		}
	}
	return []bundled{
		{"version.json", command(func(_ context.Context, env environment) error { return (&versionShow{outputFlag: asJSON}).Run(env) })},
		{"build.txt", func(context.Context) ([]byte, error) { return buildText() }},
		{"settings.json", func(context.Context) ([]byte, error) { return marshal(s.effective()) }},
		{"system.json", func(context.Context) ([]byte, error) { return marshal(systemNow(os.Environ())) }},
		{"check.json", command(func(ctx context.Context, env environment) error {
			return (&checkCommand{outputFlag: asJSON}).Run(ctx, s, env)
		})},
		{"readyz.txt", func(ctx context.Context) ([]byte, error) { return askWorker(ctx, s.Listen, "/readyz") }},
		{"metrics.txt", func(ctx context.Context) ([]byte, error) { return askWorker(ctx, s.Listen, "/metrics") }},
		{"goroutines.txt", func(ctx context.Context) ([]byte, error) {
			return askWorker(ctx, s.Listen, "/debug/pprof/goroutine?debug=1")
		}},
		{"accounts.json", command(func(ctx context.Context, env environment) error {
			return (&accountsList{outputFlag: asJSON}).Run(ctx, s, env)
		})},
		{"journal.json", func(ctx context.Context) ([]byte, error) { return s.fromJournal(ctx, journalSummary) }},
		{"attention.json", func(ctx context.Context) ([]byte, error) { return s.fromJournal(ctx, attentionSummary) }},
		{"dead-letters.json", func(ctx context.Context) ([]byte, error) { return s.fromJournal(ctx, deadLetterSummary) }},
		{"audit.json", command(func(ctx context.Context, env environment) error {
			return (&auditList{outputFlag: asJSON, pageFlags: page}).Run(ctx, s, env)
		})},
	}
}

func marshal(value any) ([]byte, error) {
	doc, err := json.Marshal(value, jsontext.WithIndent("  "), json.FormatNilSliceAsNull(false))
	return append(visible.JSON(doc), '\n'), err
}

func buildText() ([]byte, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil, errors.New("the program has no build information")
	}
	return []byte(info.String()), nil
}

// askWorker reads a page of the listener of a running worker.
func askWorker(ctx context.Context, listen, page string) ([]byte, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, errors.New("--listen is off, so a running worker cannot be asked")
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+page, nil)
	if err != nil {
		return nil, fmt.Errorf("no worker can be asked at --listen %s", listen)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("no worker answers at --listen %s", listen)
	}
	defer func() { _ = response.Body.Close() }()
	doc, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the worker's answer to %s broke off", page)
	case response.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("the worker does not serve %s; profiles need --pprof", page)
	}
	return doc, nil
}

func (s *settings) fromJournal(ctx context.Context, summary func(context.Context, journal.Journal) (any, error)) (doc []byte, err error) {
	err = withJournal(ctx, s, environment{stderr: io.Discard}, func(j journal.Journal) error {
		value, err := summary(ctx, j)
		if err != nil {
			return err
		}
		doc, err = marshal(value)
		return err
	})
	return doc, err
}

type journalSummaryJSON struct {
	Identity    string           `json:"identity"`
	Bytes       int64            `json:"bytes"`
	UsedBytes   int64            `json:"usedBytes"`
	FreeBytes   int64            `json:"freeBytes"` // -1: not known
	InboxEvents int64            `json:"inboxEvents"`
	Outbox      int64            `json:"outbox"`
	OldestOut   *time.Time       `json:"oldestOut,omitzero"`
	OldestDue   *time.Time       `json:"oldestDue,omitzero"`
	DeadLetters int64            `json:"deadLetters"`
	Operations  []openJSON       `json:"operations"` // open ones and those in attention
	Attention   map[string]int64 `json:"attention"`  // by reason
	Positions   []positionJSON   `json:"positions"`
}

func journalSummary(ctx context.Context, j journal.Journal) (any, error) {
	stats, err := j.Stats(ctx)
	if err != nil {
		return nil, err
	}
	room, err := j.Capacity(ctx)
	if err != nil {
		return nil, err
	}
	positions, err := j.Positions(ctx)
	if err != nil {
		return nil, err
	}
	v := journalSummaryJSON{
		Identity: j.Identity().String(), Bytes: stats.Bytes, UsedBytes: room.Used, FreeBytes: room.Free, InboxEvents: stats.Events, Outbox: stats.Outbox,
		OldestOut: timeJSON(stats.OldestOut), OldestDue: timeJSON(oldest(stats.OldestDue)), DeadLetters: stats.DeadLetters, Attention: stats.Attention,
	}
	for key, n := range stats.Operations {
		v.Operations = append(v.Operations, openJSON{key.Account, key.Kind.String(), key.State.String(), n})
	}
	slices.SortFunc(v.Operations, func(a, b openJSON) int {
		return strings.Compare(a.Account+"\x00"+a.Kind+"\x00"+a.State, b.Account+"\x00"+b.Kind+"\x00"+b.State)
	})
	for _, p := range positions {
		v.Positions = append(v.Positions, positionJSON{p.Topic, p.Partition, p.Next})
	}
	return v, nil
}

type attentionSummaryJSON struct {
	ID        string     `json:"id"`
	Kind      string     `json:"kind"`
	Account   string     `json:"account"`
	Shop      string     `json:"shop"`
	Reason    string     `json:"reason"`
	ChangedAt *time.Time `json:"changedAt,omitzero"`
}

func attentionSummary(ctx context.Context, j journal.Journal) (any, error) {
	records, err := j.Operations(ctx, journal.OperationFilter{State: journal.Attention, Limit: bundledRows})
	if err != nil {
		return nil, err
	}
	list := []attentionSummaryJSON{}
	for _, r := range records {
		list = append(list, attentionSummaryJSON{r.UUID.String(), r.Kind.String(), r.Shop.Account, r.Shop.Shop, r.Reason, timeJSON(r.Changed)})
	}
	return list, nil
}

type deadLetterCountJSON struct {
	Topic  string     `json:"topic"`
	Reason string     `json:"reason"`
	Count  int        `json:"count"` // among the newest 100000
	Newest *time.Time `json:"newest,omitzero"`
}

// deadLetterSummary counts dead letters by topic and reason. It contains nothing of their
// records, because records, and their keys, can contain personal data.
func deadLetterSummary(ctx context.Context, j journal.Journal) (any, error) {
	counts := []deadLetterCountJSON{}
	f := journal.DeadLetterFilter{NoRecords: true, Limit: 1000}
	for range maxRows / f.Limit {
		page, err := j.DeadLetters(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, l := range page {
			i := slices.IndexFunc(counts, func(c deadLetterCountJSON) bool { return c.Topic == l.Topic && c.Reason == l.Reason })
			if i < 0 {
				i = len(counts)
				counts = append(counts, deadLetterCountJSON{Topic: l.Topic, Reason: l.Reason, Newest: timeJSON(l.Received)})
			}
			counts[i].Count++
		}
		if len(page) < f.Limit {
			break
		}
		f.Before = page[len(page)-1].ID
	}
	return counts, nil
}

// oldest returns the earliest instant, zero for none.
func oldest(due map[journal.DueKey]time.Time) (first time.Time) {
	for _, at := range due {
		if first.IsZero() || !at.IsZero() && at.Before(first) {
			first = at
		}
	}
	return first
}
