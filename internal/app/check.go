package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/invoicebox"
)

// A CheckVerdict is the verdict of a check.
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
	Detail  string // what was found, or the next step
}

// Check checks what Run and the guarantees need. It creates no journal, joins no group
// and publishes nothing. For each account it sends one request, the check of the token,
// which changes nothing at Invoicebox. The request takes a permit of the journal's
// ledgers, if there is a journal; Check changes nothing else. While a worker runs it
// sends nothing: the worker holds the ledgers and checks the tokens itself.
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
	out = append(out, checkLimits(o)...)
	out = append(out, checkFiles(o)...)
	usable := checkJournal(ctx, o)
	out = append(out, usable)
	if at, err := journalAt(o.JournalURL); err == nil {
		for _, words := range at.warnings() {
			out = append(out, CheckResult{"journal", CheckWarning, words})
		}
	}
	if usable.Verdict != CheckFailed {
		out = append(out, checkCommits(ctx, o)...)
	}
	out = append(out, checkStores(ctx, o)...)
	out = append(out, checkCredentialsEndpoint(ctx, &o)...)
	out = append(out, checkTraces(ctx, &o)...)
	var topics []string
	var warning string
	conn, err := kafka.New(o.Kafka)
	if err == nil {
		topics, warning, err = checkTopics(ctx, &o, conn)
	}
	if err == nil {
		err = checkReach(ctx, conn, o.KafkaGroup, topics)
	}
	if err == nil && warning != "" {
		out = append(out, CheckResult{"kafka", CheckWarning, warning})
	} else {
		add("kafka", err, strings.Join(o.Kafka.Brokers, ",")+" has all topics")
	}
	if err == nil {
		out = append(out, checkPlaintext(o, conn)...)
		out = append(out, checkTopicSafety(ctx, o, conn, topics)...)
		out = append(out, checkRecordTimes(ctx, conn, time.Now(), topics))
		out = append(out, checkRights(ctx, o, conn, topics), checkProducing(ctx, conn), checkGroup(ctx, o, conn), checkRetention(ctx, o, conn))
	}
	return append(out, checkTokensCounted(ctx, o)...)
}

func checkJournal(ctx context.Context, o Options) CheckResult {
	const name = "journal"
	at, err := journalAt(o.JournalURL)
	if err != nil {
		return CheckResult{name, CheckFailed, err.Error()}
	}
	j, err := at.open(ctx, openOptions{readOnly: true})
	if errors.Is(err, fs.ErrNotExist) && !at.exists(ctx) {
		if err := at.checkWritable(ctx); err != nil {
			return CheckResult{name, CheckFailed, err.Error()}
		}
		if short := at.lowSpace(&o); short != "" {
			return CheckResult{name, CheckFailed, short}
		}
		return CheckResult{name, CheckWarning, at.url + " does not exist yet; the first run creates it"}
	}
	if err != nil {
		return CheckResult{name, CheckFailed, at.explain(err).Error()}
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
	if err := checkKeys(ctx, j, o.Keyset); err != nil {
		return CheckResult{name, CheckFailed, err.Error()}
	}
	if due, err := j.RecoveryDue(ctx); err != nil || due {
		return CheckResult{name, CheckFailed, "it is a copy, or its recovery has not ended: stop every worker that may still have the newer one, then continue with `invoicebox-worker journal recover`"}
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
	if err := at.checkWritable(ctx); err != nil {
		return CheckResult{name, CheckFailed, err.Error()}
	}
	if short := at.lowSpace(&o); short != "" {
		return CheckResult{name, CheckFailed, short}
	}
	return CheckResult{name, CheckOK, at.url + " can be used and fits the keyset"}
}

// checkTokensCounted checks the tokens. The requests are counted in the journal's
// ledgers if the journal knows the account.
func checkTokensCounted(ctx context.Context, o Options) (out []CheckResult) {
	j, held, refused := ledgersOf(ctx, o)
	if j != nil {
		defer func() { _ = j.Close() }()
	}
	for _, a := range o.Accounts {
		name := "token"
		if len(o.Accounts) > 1 {
			name = "token " + a.Name
		}
		if held {
			out = append(out, besideWorker(ctx, o, a.Name, CheckResult{name, CheckWarning, refused}))
			continue
		}
		if refused != "" {
			out = append(out, CheckResult{name, CheckWarning, refused})
			continue
		}
		var ledger rateLimiter
		if j != nil {
			ledger = j
		}
		out = append(out, checkToken(ctx, o, a, name, ledger))
	}
	return out
}

// ledgersOf opens the journal to count requests in it. The result is nil if there is no
// journal yet: then no earlier request has to be counted. Refused is why no request can be
// sent; held reports that a running worker is the reason.
func ledgersOf(ctx context.Context, o Options) (j journal.Journal, held bool, refused string) {
	const unknown = "; the token was not checked, because the request could not be counted"
	at, err := journalAt(o.JournalURL)
	if err != nil {
		return nil, false, "the journal cannot be opened" + unknown
	}
	// Read-only first: a check must not migrate a journal that another version wrote.
	beside, err := at.open(ctx, openOptions{readOnly: true})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, ""
	}
	if err != nil {
		return nil, false, "the journal cannot be opened" + unknown
	}
	_ = beside.Close()
	plan := func(journal.Event, journal.ShopView) journal.Plan { return journal.Plan{} }
	j, err = at.open(ctx, openOptions{planner: plan})
	switch {
	case errors.Is(err, journal.ErrHeld):
		return nil, true, "a worker runs with this journal and checks the token with its own settings; nothing was sent, because only the worker can count requests"
	case err != nil:
		return nil, false, "the journal cannot be opened" + unknown
	}
	return j, false, ""
}

// checkToken checks one token; ledger is nil if there is no journal.
func checkToken(ctx context.Context, o Options, a Account, name string, ledger rateLimiter) CheckResult {
	transport := newTransport(&o)
	defer transport.Close()
	client, err := newClient(&o, a, transport, nil)
	if err != nil {
		return CheckResult{name, CheckFailed, err.Error()}
	}
	defer client.Close()
	x, asked, err := invoicebox.Exchange{}, false, journal.ErrNotFound
	if ledger != nil {
		x, asked, err = checkTokenCounted(ctx, &o, a, client, ledger)
	}
	switch {
	case errors.Is(err, journal.ErrNotFound):
		// Without a row of the account, this journal has sent nothing for it.
		x = client.CheckOwnToken(ctx)
	case err != nil:
		return CheckResult{name, CheckWarning, "the journal cannot be written, so the request could not be counted and the token was not checked"}
	case !asked:
		return CheckResult{name, CheckWarning, "no request is left in this window, or it is not known how many are; the token was not checked: try again in a few minutes"}
	}
	verdict, words := describeTokenCheck(&o, x)
	return CheckResult{name, verdict, words}
}
