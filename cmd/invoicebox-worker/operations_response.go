package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
)

type operationsReread struct{ operationAction }

// Run requests that the stored response is parsed again.
func (c *operationsReread) Run(ctx context.Context, s *settings, env environment) error {
	return c.submitAction(ctx, s, env, onboarding.ActionReread, nil)
}

type operationsResponse struct {
	outputFlag
	ID     string `arg:"" name:"id" help:"The operation's id, as listed and as the events' operationid."`
	Reveal bool   `name:"reveal" group:"command" help:"Also print the bodies, decompressed. They may hold the shop's token. Audited."`
	Actor  string `name:"actor" group:"command" placeholder:"NAME" help:"Who asks, for the audit trail; else the system's user and host."`
	Reason string `name:"reason" group:"command" placeholder:"TEXT" help:"Why, for the audit trail; never a secret."`
}

// responseJSON is one stored response.
type responseJSON struct {
	Attempt    int               `json:"attempt"` // 0: entered by a person
	ReceivedAt *time.Time        `json:"receivedAt,omitzero"`
	Status     int               `json:"status"`
	RequestID  string            `json:"requestId,omitzero"`
	Headers    map[string]string `json:"headers,omitzero"`
	Length     int               `json:"length"`
	Complete   bool              `json:"complete"`
	SHA256     string            `json:"sha256"`
	Readable   bool              `json:"readable"` // by this version
	Problem    string            `json:"problem,omitzero"`
	MerchantID string            `json:"merchantId,omitzero"`
	Body       string            `json:"body,omitzero"`       // with --reveal
	BodyBase64 []byte            `json:"bodyBase64,omitzero"` // with --reveal, where it is not UTF-8
}

// Run shows the stored responses. With --reveal the audit entry is on disk before
// a byte of a body is printed.
func (c *operationsResponse) Run(ctx context.Context, s *settings, env environment) error {
	id, err := operationID(c.ID)
	if err != nil {
		return err
	}
	flags := actionFlags{Actor: c.Actor, Reason: c.Reason}
	if err := flags.check(); err != nil {
		return err
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		keys, err := s.keysetOf(ctx, j)
		if err != nil {
			return err
		}
		kept, err := j.Responses(ctx, id)
		switch {
		case errors.Is(err, journal.ErrNotFound):
			return fmt.Errorf("there is no operation %s in %s", id, s.JournalURL)
		case err != nil:
			return err
		case len(kept) == 0:
			return fmt.Errorf("no response is kept of operation %s: none came, it was an invitation, or it was erased a week after its token was found to work", id)
		}
		d, err := j.Operation(ctx, id)
		if err != nil {
			return err
		}
		if c.Reveal {
			err := j.AppendAudit(ctx, journal.AuditEntry{
				At: time.Now(), Actor: flags.Actor, Act: "response", Subject: id.String(),
				Detail: strings.TrimSuffix(fmt.Sprintf("%d responses revealed; %s", len(kept), c.Reason), "; "),
			})
			if err != nil {
				return fmt.Errorf("nothing is printed, because it cannot be written to the audit trail: %w", err)
			}
		}
		views := []responseJSON{}
		for _, k := range kept {
			x, err := engine.OpenResponse(keys, d.Shop, k.StoredReceipt)
			if err != nil {
				return fmt.Errorf("a response cannot be opened: %s did not seal it for this operation: it was moved or edited in the database, or is damaged", s.KeysetFile)
			}
			views = append(views, responseView(k, x, c.Reveal))
		}
		return c.write(env.stdout, views, func(w io.Writer) {
			for i, v := range views {
				if i > 0 {
					_, _ = fmt.Fprintln(w)
				}
				v.print(w)
			}
		})
	})
}

func responseView(k journal.KeptResponse, x invoicebox.Exchange, reveal bool) responseJSON {
	digest := sha256.Sum256(x.Body)
	v := responseJSON{
		Attempt: k.Number, ReceivedAt: timeJSON(k.At), Status: x.Status, RequestID: x.RequestID, Headers: headerView(x.Header),
		Length: len(x.Body), Complete: x.BodyComplete, SHA256: hex.EncodeToString(digest[:]),
	}
	act, err := invoicebox.ParseActivation(x)
	if v.Readable = err == nil; v.Readable {
		v.MerchantID = act.MerchantID
	} else {
		v.Problem = strings.TrimPrefix(err.Error(), "invoicebox: "+invoicebox.ErrUnreadable.Error()+": ")
	}
	if !reveal {
		return v
	}
	body, err := x.Unpacked()
	if err != nil {
		body = x.Body
	}
	if utf8.Valid(body) {
		v.Body = string(body)
	} else {
		v.BodyBase64 = body
	}
	return v
}

func headerView(h http.Header) map[string]string {
	out := map[string]string{}
	for name, values := range h {
		out[name] = strings.Join(values, ", ")
	}
	return out
}

func (v responseJSON) print(w io.Writer) {
	attempt := fmt.Sprint(v.Attempt)
	if v.Attempt == 0 {
		attempt = "entered by a person"
	}
	var headers []string
	for name, value := range v.Headers {
		headers = append(headers, fmt.Sprintf("%s: %q", name, value))
	}
	slices.Sort(headers)
	received := ""
	if v.ReceivedAt != nil {
		received = formatTimeMillis(*v.ReceivedAt)
	}
	printFields(w,
		"attempt", attempt, "received", received, "status", fmt.Sprint(v.Status), "request id", v.RequestID,
		"headers", strings.Join(headers, "; "), "length", fmt.Sprintf("%d bytes%s", v.Length, ifTrue(!v.Complete, ", cut")), "sha256", v.SHA256,
		"readable", map[bool]string{true: "yes", false: "no: " + v.Problem}[v.Readable], "merchant id", v.MerchantID)
	switch {
	case v.BodyBase64 != nil:
		_, _ = fmt.Fprintf(w, "body (not UTF-8, quoted)\n%q\n", v.BodyBase64)
	case v.Body != "":
		_, _ = fmt.Fprintf(w, "body\n%s\n", quotedBody(v.Body))
	}
}

// quotedBody escapes control characters, line by line: the body may be hostile.
func quotedBody(body string) string {
	lines := strings.Split(body, "\n")
	for i, line := range lines {
		line = fmt.Sprintf("%q", line)
		lines[i] = strings.ReplaceAll(line[1:len(line)-1], `\"`, `"`)
	}
	return strings.Join(lines, "\n")
}

// reasonOf returns why an ended attempt ended, one of a closed set.
func reasonOf(d journal.OperationDetail, attempt int) string {
	if d.Tries[attempt].End.Reason == "" && outcomeOf(d, attempt) == invoicebox.Unreadable.String() {
		return string(invoicebox.ReasonBodyUnusable)
	}
	return d.Tries[attempt].End.Reason
}

// causeOf is the reason of the last attempt that has ended.
func causeOf(d journal.OperationDetail) string {
	for i, a := range slices.Backward(d.Tries) {
		if a.End != nil {
			return reasonOf(d, i)
		}
	}
	return ""
}
