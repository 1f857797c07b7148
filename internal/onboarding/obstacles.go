package onboarding

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox"
)

// A Cause is why an operation does not run. The set is closed.
type Cause string

// The causes.
const (
	CauseOperator      Cause = "operator"                   // waits for an operator's command
	CauseNoWorker      Cause = "worker_not_running"         // no worker has the journal
	CauseNotConfigured Cause = "account_not_configured"     // no running worker has the account
	CausePaused        Cause = "account_paused"             // until a person, or a check of the token, resumes it
	CauseBackingOff    Cause = "account_backing_off"        // Invoicebox fails or cannot be reached
	CauseThrottled     Cause = "account_throttled"          // Invoicebox answered 429
	CauseHold          Cause = "hold_after_restore"         // it is not known how many requests were sent
	CauseLimit         Cause = "request_limit"              // our own limit of requests is used up
	CauseDisk          Cause = "journal_disk_full"          // the journal's disk lacks the space for a call
	CauseBusy          Cause = "concurrency_limit"          // all places for calls are taken
	CauseLane          Cause = "lane_taken"                 // another operation of the shop is first
	CauseQuiet         Cause = "quiet_period"               // an earlier request may still be on its way
	CauseStore         Cause = "credential_store_not_ready" // a token could not be stored
	CauseVerification  Cause = "verification"               // the new token is being checked
	CauseBackOff       Cause = "back_off"                   // of this operation
)

// Causes lists all causes.
func Causes() []Cause {
	return []Cause{
		CauseOperator, CauseNoWorker, CauseNotConfigured, CausePaused, CauseBackingOff, CauseThrottled, CauseHold, CauseLimit, CauseDisk, CauseBusy,
		CauseLane, CauseQuiet, CauseStore, CauseVerification, CauseBackOff,
	}
}

// An AccountStatus is what a running worker reports of an account beside its breaker.
type AccountStatus struct {
	Account   string    `json:"account"`
	CheckAt   time.Time `json:"checkAt,omitzero"`   // of the next check of the account's token
	PermitAt  time.Time `json:"permitAt,omitzero"`  // no request is permitted before
	RateLimit string    `json:"rateLimit,omitzero"` // that PermitAt is of
	HoldUntil time.Time `json:"holdUntil,omitzero"` // what was sent before is not known
	Busy      bool      `json:"busy,omitzero"`      // all places for calls are taken
	// Fault is the reason of the call or check that made the account back off last.
	Fault invoicebox.Reason `json:"fault,omitzero"`
	// Blocked is the reason for which this worker's own check found its settings wrong.
	// Other workers may have other settings.
	Blocked      Reason    `json:"blocked,omitzero"`
	BlockedSince time.Time `json:"blockedSince,omitzero"`
}

// Circuit returns the breaker for the worker that reports the status, given the breaker in the
// journal.
func (s AccountStatus) Circuit(known journal.Circuit) journal.Circuit {
	if s.Blocked == "" || known.State == journal.CircuitPaused {
		return known
	}
	return journal.Circuit{State: journal.CircuitPaused, Reason: string(s.Blocked), Since: s.BlockedSince}
}

// Facts are what is known beside an operation when it is asked why it does not
// run. Which are needed follows from the operation's state.
type Facts struct {
	Now        time.Time
	Running    bool // a worker runs with the journal
	Configured bool // and has the account
	Circuit    journal.Circuit
	Status     AccountStatus
	Disk       string // what the journal's disk lacks for calls; "" where nothing is
	// Ahead is the operation that has the shop's lane, if it is another.
	Ahead      uuid.UUID
	AheadState journal.State
}

// FaultText describes the end of the call that made the account back off, and what to
// do; "" if it is not known.
func (s AccountStatus) FaultText() string {
	if s.Fault == "" {
		return ""
	}
	words := "; the last one ended with " + string(s.Fault)
	if advice, ok := AdviceFor(s.Fault); ok {
		words += ": " + advice.Means + " " + advice.Do
	}
	return strings.TrimSuffix(strings.TrimSpace(words), ".")
}

// An Obstacle is one thing that keeps an operation from running.
type Obstacle struct {
	Cause     Cause
	Until     time.Time // when it ends by itself; zero: not known
	Operation uuid.UUID // of lane_taken
	Text      string
	Command   string // that changes it; "" where none does
}

// Lasts reports whether the obstacle lasts until somebody does something.
func (o Obstacle) Lasts() bool {
	return o.Cause == CauseOperator || o.Cause == CauseNoWorker || o.Cause == CauseNotConfigured || o.Cause == CausePaused
}

// Obstacles says what keeps an operation from running, the one that lasts longest
// first. None: it runs, is about to, or has ended.
func Obstacles(o journal.OperationRecord, f Facts) []Obstacle {
	var list []Obstacle
	add := func(c Cause, until time.Time, command, words string, args ...any) {
		list = append(list, Obstacle{Cause: c, Until: until, Command: command, Text: fmt.Sprintf(words, args...)})
	}
	switch {
	case o.State == journal.Attention:
		add(CauseOperator, time.Time{}, "", "waits for an operator's command")
		return list
	case !o.State.Open():
		return nil
	case !f.Running:
		add(CauseNoWorker, time.Time{}, "run", "no worker is running with this journal")
	case !f.Configured:
		add(CauseNotConfigured, time.Time{}, "", "no running worker is configured for account %s", o.Shop.Account)
	}
	if calls := o.State == journal.Queued || o.State == journal.Planned || o.State == journal.Waiting || o.State == journal.Unknown; calls {
		list = append(list, AccountObstacles(o.Shop.Account, f)...)
	}
	later := o.Due.After(f.Now)
	switch o.State {
	case journal.Queued:
		if f.Ahead != uuid.Nil {
			list = append(list, Obstacle{Cause: CauseLane, Operation: f.Ahead, Text: fmt.Sprintf("operation %s of the same shop (%s) is first", f.Ahead, f.AheadState)})
		} else {
			add(CauseLane, time.Time{}, "", "an earlier operation of the same shop is first")
		}
	case journal.Unknown:
		if later {
			add(CauseQuiet, o.Due, "", "an earlier request has no answer and may still be on its way; quiet period until %s", clockTime(o.Due))
		}
	case journal.Planned, journal.Waiting, journal.Received, journal.Stored:
		switch {
		case o.Reason == string(ReasonStoreNotReady):
			add(CauseStore, o.Due, "", "the credential store is not ready; next attempt at %s", clockTime(o.Due))
		case !later:
		case o.State == journal.Received:
			add(CauseQuiet, o.Due, "", "another request of the operation may still be on its way; quiet period until %s", clockTime(o.Due))
		case o.State == journal.Stored:
			add(CauseVerification, o.Due, "", "the new token is being checked; next check at %s", clockTime(o.Due))
		default:
			add(CauseBackOff, o.Due, "", "next attempt at %s (%s)", clockTime(o.Due), cmp.Or(o.Reason, "planned"))
		}
	}
	return list
}

// AccountObstacles returns the obstacles of every call of an account.
func AccountObstacles(account string, f Facts) []Obstacle {
	var list []Obstacle
	g := DescribeBreaker(account, f.Circuit, f.Status.CheckAt, f.Now)
	if f.Circuit.State != journal.CircuitActive && f.Circuit.State != "" {
		cause := map[journal.CircuitState]Cause{journal.CircuitPaused: CausePaused, journal.CircuitBackingOff: CauseBackingOff, journal.CircuitThrottled: CauseThrottled}[f.Circuit.State]
		list = append(list, Obstacle{Cause: cause, Until: g.Until, Command: g.Command, Text: "account " + account + " is " + g.Text + f.Status.FaultText()})
	}
	if f.Disk != "" {
		list = append(list, Obstacle{Cause: CauseDisk, Text: f.Disk})
	}
	s := f.Status
	switch {
	case s.HoldUntil.After(f.Now):
		list = append(list, Obstacle{Cause: CauseHold, Until: s.HoldUntil, Text: "it is not known what was sent before the journal was restored, moved or made; no request before " + clockTime(s.HoldUntil)})
	case s.PermitAt.After(f.Now):
		list = append(list, Obstacle{Cause: CauseLimit, Until: s.PermitAt, Text: fmt.Sprintf("our own limit of requests is used up (%s); next permit at %s", s.RateLimit, clockTime(s.PermitAt))})
	case s.Busy:
		list = append(list, Obstacle{Cause: CauseBusy, Text: "all places for calls are taken (--concurrency)"})
	}
	return list
}

// A BreakerDescription says in words how an account's breaker stands.
type BreakerDescription struct {
	Text    string    // after "account NAME is"
	Until   time.Time // when it ends by itself, if that lies ahead
	Command string    // that changes it; "" where none does
	Todo    string    // what to do before, as in Words; "" where that is not known
}

// DescribeBreaker says how an account's breaker stands. An end in the past is none: the
// breaker then waits for the call that tries the account. checkAt is when the
// account's token is checked next, zero where no worker has said so.
func DescribeBreaker(account string, g journal.Circuit, checkAt, now time.Time) BreakerDescription {
	var d BreakerDescription
	reason := accountReasonOf(Reason(g.Reason))
	check := ""
	if checkAt.After(now) {
		check = "; next check at " + clockTime(checkAt)
	}
	switch g.State {
	case journal.CircuitPaused:
		d.Text = fmt.Sprintf("paused since %s: %s", clockTime(g.Since), reason.Text)
		d.Command = "accounts " + string(reason.Action) + " " + account
		d.Text += check
		d.Todo = reason.Todo
		if reason.Todo != "" {
			d.Text += "; " + reason.Todo
		}
	case journal.CircuitBackingOff, journal.CircuitThrottled:
		d.Text = "backing off"
		if g.State == journal.CircuitThrottled {
			d.Text = "throttled"
		}
		if !g.Since.IsZero() {
			d.Text += " since " + clockTime(g.Since)
		}
		d.Text += ": " + reason.Text
		switch {
		case g.Until.After(now):
			d.Until = g.Until
			d.Text += "; until " + clockTime(g.Until)
		case g.State == journal.CircuitBackingOff && g.Reason == string(ReasonServerFaults) && check != "":
			d.Text += "; waits for a check of the token" + check
		default:
			d.Text += "; waits for a trial call, which the next due operation makes"
		}
	default:
		d.Text = "active"
	}
	return d
}

// An AccountReasonRow says what a breaker's reason means, what ends a pause for it, and which
// command tries.
type AccountReasonRow struct {
	Reason Reason
	Text   string
	Todo   string
	Action Action
}

var accountReasonRows = []AccountReasonRow{
	{ReasonToken, "Invoicebox refuses the account's token", "a valid token in --token-file resumes the account", ActionCheck},
	{ReasonAddress, "--invoicebox-url does not lead to the Invoicebox API", "correct --invoicebox-url and restart the worker", ActionCheck},
	{ReasonRights, "Invoicebox denies the account the right to invite or activate", "ask Invoicebox for the right, then resume the account", ActionResume},
	{ReasonPartner, "Invoicebox does not accept the partner id", "compare --partner-id and the owner of the token in --token-file with the contract; another partner id needs an account with another name", ActionResume},
	{ReasonRequest, "Invoicebox rejects the form of the requests", "`operations list --attention` shows them and `operations show` what Invoicebox answered; correct the cause, then resume the account", ActionResume},
	{ReasonRefusals, "the codes or addresses of many different shops were refused in a row", "find out what the shops enter, then resume the account", ActionResume},
	{ReasonAnswers, "responses that report success cannot be read or used", "`operations response` shows a kept response; resume the account when the cause is removed", ActionResume},
	{ReasonOperator, "an operator paused it", "", ActionResume},
	{ReasonSettings, "the settings have changed", "", ActionResume},
	{ReasonServerFaults, "Invoicebox fails or cannot be reached", "", ActionResume},
	{ReasonLimited, "Invoicebox limits the account's requests", "", ActionResume},
}

// AccountReasonRows returns the table of the reasons of breakers, for documents and tests.
func AccountReasonRows() []AccountReasonRow { return slices.Clone(accountReasonRows) }

func accountReasonOf(r Reason) AccountReasonRow {
	for _, row := range accountReasonRows {
		if row.Reason == r {
			return row
		}
	}
	return AccountReasonRow{Reason: r, Text: string(r), Action: ActionResume}
}

// clockTime shows an instant inside a sentence.
func clockTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }
