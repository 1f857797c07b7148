package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/kafkaconn"
	"invoicebox-worker/invoicebox"
)

// A CheckVerdict is what a check came to.
type CheckVerdict string

// The verdicts.
const (
	CheckOK      CheckVerdict = "ok"
	CheckWarning CheckVerdict = "warning"
	CheckFailed  CheckVerdict = "failed"
)

// A CheckResult is one line of `check`.
type CheckResult struct {
	Name    string
	Verdict CheckVerdict
	Detail  string // what was found, or what to do
}

// Check tries what Run needs and leaves nothing behind: no journal is made, no
// group is joined, nothing is published. One request is sent for each account:
// the look whether its token works, which changes nothing at Invoicebox.
func Check(ctx context.Context, o Options) []CheckResult {
	var out []CheckResult
	add := func(name string, err error, ok string) {
		if err != nil {
			out = append(out, CheckResult{name, CheckFailed, err.Error()})
			return
		}
		out = append(out, CheckResult{name, CheckOK, ok})
	}
	if err := o.check(); err != nil {
		add("settings", err, "")
		return out
	}
	add("settings", nil, fmt.Sprintf("%d account(s)", len(o.Accounts)))
	out = append(out, checkJournal(ctx, o))
	conn, err := kafkaconn.New(o.Kafka)
	if err == nil {
		err = checkTopics(ctx, conn, o.Kafka.TLS != nil, o.AllTopics())
	}
	add("kafka", err, strings.Join(o.Kafka.Brokers, ",")+" has all topics")
	for _, a := range o.Accounts {
		out = append(out, checkToken(ctx, o, a))
	}
	return out
}

func checkJournal(ctx context.Context, o Options) CheckResult {
	const name = "journal"
	path, err := JournalPath(o.JournalURL)
	if err != nil {
		return CheckResult{name, CheckFailed, err.Error()}
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		probe, err := os.CreateTemp(filepath.Dir(path), ".check-*")
		if err != nil {
			return CheckResult{name, CheckFailed, fmt.Sprintf("no file can be made in %s: make the folder, or let the user of this process write it", filepath.Dir(path))}
		}
		_ = probe.Close()
		_ = os.Remove(probe.Name())
		return CheckResult{name, CheckWarning, path + " does not exist yet; the first run makes it"}
	}
	j, err := sqlite.Open(ctx, sqlite.Options{Path: path, ReadOnly: true})
	if err != nil {
		return CheckResult{name, CheckFailed, explainJournal(o.JournalURL, err).Error()}
	}
	defer func() { _ = j.Close() }()
	kept, err := j.KeysetCheck(ctx)
	if err != nil {
		return CheckResult{name, CheckFailed, "it cannot be read"}
	}
	if len(kept) > 0 {
		if err := opensCheck(j.Identity(), kept, o.Keyset); err != nil {
			return CheckResult{name, CheckFailed, err.Error()}
		}
	}
	known, err := j.Accounts(ctx)
	if err != nil {
		return CheckResult{name, CheckFailed, "it cannot be read"}
	}
	for _, k := range known {
		for _, a := range o.Accounts {
			if a.Name == k.Name && a.PartnerID != k.PartnerID {
				return CheckResult{name, CheckFailed, fmt.Sprintf("it knows account %q with another partner id", a.Name)}
			}
		}
	}
	return CheckResult{name, CheckOK, path + " can be read and fits the keyset"}
}

func checkToken(ctx context.Context, o Options, a Account) CheckResult {
	name := "token"
	if len(o.Accounts) > 1 {
		name = "token " + a.Name
	}
	client, err := newClient(&o, a, nil, nil)
	if err != nil {
		return CheckResult{name, CheckFailed, err.Error()}
	}
	defer client.Close()
	switch v := invoicebox.Classify(client.CheckOwnToken(ctx)); v.Class {
	case invoicebox.Done:
		return CheckResult{name, CheckOK, o.InvoiceboxURL + " accepts the token"}
	case invoicebox.Unauthorized:
		return CheckResult{name, CheckFailed, o.InvoiceboxURL + " refuses the token: check --token-file"}
	case invoicebox.Limited:
		return CheckResult{name, CheckWarning, o.InvoiceboxURL + " says that the limit of requests is used up; nothing is known of the token"}
	case invoicebox.NotExecuted:
		return CheckResult{name, CheckFailed, o.InvoiceboxURL + " cannot be reached: check --invoicebox-url and the network"}
	default:
		return CheckResult{name, CheckWarning, fmt.Sprintf("%s answers strangely (%s): check --invoicebox-url", o.InvoiceboxURL, v.Class)}
	}
}
