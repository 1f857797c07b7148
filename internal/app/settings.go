package app

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"invoicebox-worker/internal/engine"
	"invoicebox-worker/schemas"
)

// A SettingError says which setting is wrong, how, and what would be right.
type SettingError struct {
	Setting string // name of the flag, without dashes; or a place such as accounts[1].name
	Value   string // as it was given; "" for a secret or a missing value
	Right   string // what would be right, as the end of a sentence
	From    string // where the value came from; "" for the command line or a default
}

// Error names the setting as it is typed.
func (e *SettingError) Error() string {
	var b strings.Builder
	b.WriteString("setting ")
	if !strings.ContainsAny(e.Setting, "[. ") {
		b.WriteString("--")
	}
	b.WriteString(e.Setting)
	if e.From != "" {
		b.WriteString(" (from " + e.From + ")")
	}
	if e.Value != "" {
		b.WriteString(" is " + quote(withoutPassword(e.Value)))
	}
	b.WriteString(": " + e.Right)
	return b.String()
}

// quote shows a value on one line and within bounds.
func quote(value string) string {
	const most = 80
	if len(value) > most {
		return strconv.Quote(value[:most]) + " and so on"
	}
	return strconv.Quote(value)
}

// withoutPassword takes out what may be one of an address, right or wrong.
func withoutPassword(value string) string {
	start := strings.Index(value, "://")
	if u, err := url.Parse(value); start >= 0 && err == nil && u.Opaque == "" {
		value = u.Redacted()
	} else if at := strings.LastIndex(value, "@"); start >= 0 && at > start {
		value = value[:start+3] + "…" + value[at:]
	}
	// A name may stand in capitals, or escaped.
	name := regexp.MustCompile(`(?i)((?:p|%70|%50)(?:a|%61|%41)(?:s|%73|%53){2}(?:w|%77|%57)(?:o|%6f|%4f)(?:r|%72|%52)(?:d|%64|%44))(=|%3d)[^& ]*`)
	return name.ReplaceAllString(value, "${1}${2}…")
}

// check finds what is wrong between the settings. What a single setting may be
// is checked where it is read.
func (o *Options) check() error {
	var errs []error
	wrong := func(setting string, value any, right string) {
		text := ""
		if value != nil {
			text = fmt.Sprint(value)
		}
		errs = append(errs, &SettingError{Setting: setting, Value: text, Right: right})
	}
	if len(o.Kafka.Brokers) == 0 {
		wrong("kafka-brokers", nil, "must be set: one or more host:port, separated by commas")
	}
	if o.Keyset == nil {
		wrong("keyset-file", nil, "must be set: the file that `keys create` made")
	}
	if len(o.Accounts) == 0 {
		wrong("partner-id", nil, "must be set, with --token-file; or accounts in the file given with --config")
	}
	if o.Concurrency < len(o.Accounts) {
		wrong("concurrency", o.Concurrency, fmt.Sprintf("must be at least one for each of the %d accounts", len(o.Accounts)))
	}
	if o.RequestDeadline >= o.Lease {
		wrong("request-deadline", o.RequestDeadline, fmt.Sprintf("must be shorter than --lease (%s): a request must have ended before another may take its operation", o.Lease))
	}
	if o.QuietPeriod < o.Slack {
		wrong("quiet-period", o.QuietPeriod, fmt.Sprintf("must be at least --slack (%s): a request may linger on its way that long", o.Slack))
	}
	switch {
	case o.AddressCoolDown < 0 || o.AddressCoolDown >= o.MaximumAge:
		wrong("address-cool-down", o.AddressCoolDown, fmt.Sprintf("must be 0 for none, or shorter than --maximum-age (%s): an invitation that waits longer has failed", o.MaximumAge))
	case o.InboxRetention != 0 && o.AddressCoolDown > o.InboxRetention:
		wrong("address-cool-down", o.AddressCoolDown, fmt.Sprintf("must be at most --inbox-retention (%s): requests are forgotten after it", o.InboxRetention))
	}
	if o.VerifyEvery != 0 && o.VerifyEvery < time.Minute {
		wrong("verify-every", o.VerifyEvery, "must be 0 for never, or at least 1m")
	}
	for _, d := range []struct {
		setting string
		value   time.Duration
	}{{"inbox-retention", o.InboxRetention}, {"dead-letter-retention", o.DeadLetterRetention}} {
		if d.value != 0 && d.value < engine.ShortestKeep {
			wrong(d.setting, d.value, fmt.Sprintf("must be 0 to keep everything, or at least %v", engine.ShortestKeep))
		}
	}
	errs = append(errs, o.CheckTopicNames())
	errs = append(errs, checkAccounts(o.Accounts)...)
	if o.CredentialsEndpoint != nil {
		errs = append(errs, o.CredentialsEndpoint.check()...)
	}
	return errors.Join(errs...)
}

// checkAccounts refuses accounts that the API would count as one.
func checkAccounts(accounts []Account) []error {
	var errs []error
	for i, a := range accounts {
		for _, b := range accounts[:i] {
			switch {
			case a.Name == b.Name:
				errs = append(errs, &SettingError{Setting: fmt.Sprintf("accounts[%d].name", i), Value: a.Name, Right: "is taken by another account; every account needs a name of its own"})
			case a.PartnerID == b.PartnerID:
				errs = append(errs, &SettingError{Setting: fmt.Sprintf("accounts[%d].partner-id", i), Value: a.PartnerID, Right: fmt.Sprintf("is also that of account %q; two accounts with one partner id would share a limit without knowing", b.Name)})
			case a.Token().Equal(b.Token()):
				errs = append(errs, &SettingError{Setting: fmt.Sprintf("accounts[%d].token-file", i), Right: fmt.Sprintf("holds the token of account %q; two accounts with one token would share a limit without knowing", b.Name)})
			}
		}
	}
	return errs
}

// CheckTopicNames refuses two events on one topic: a reader could not tell them
// apart by it, and one that is read would be fed by one that is written.
func (o *Options) CheckTopicNames() error {
	var errs []error
	seen := map[string]string{}
	for _, name := range slices.Concat(schemas.InputTypes(), schemas.OutputTypes()) {
		topic := o.Topic(name)
		if other, ok := seen[topic]; ok {
			errs = append(errs, &SettingError{Setting: "topic", Value: topic, Right: fmt.Sprintf("is the topic of both %s and %s; each needs one of its own", other, name)})
		}
		seen[topic] = name
	}
	return errors.Join(errs...)
}
