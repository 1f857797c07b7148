package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// An Operation is what a request asks for.
type Operation string

// The operations of the API.
const (
	Invite   Operation = "invite"
	Activate Operation = "activate"
	Check    Operation = "check"   // GET …/auth/auth
	Unknown  Operation = "unknown" // no route of the API
)

// An Abort is where the connection is cut instead of a whole response.
type Abort string

// The places of an abort.
const (
	AbortBefore  Abort = "before"  // before the first byte of the response
	AbortHeaders Abort = "headers" // after its headers
	AbortBody    Abort = "body"    // in the middle of its body
)

// A Code is an activation code to plant. Only Code is required; the sandbox
// derives the rest from its seed. Planting a code again makes it unspent.
type Code struct {
	Code       string // 1 to 36 characters
	MerchantID string // up to 36 characters
	Token      string // up to 512 visible ASCII characters; no account's and no other code's
	PartnerID  string // the account that alone may use it; empty: the first that does
	Reusable   bool   // good any number of times, whatever CodeReuse says
}

// A Stub is planted for requests to come. Without Status, Body and Abort the
// ordinary answer follows, with its effect, and only Headers and Delay differ.
// With any of them there is no ordinary handling unless Effect asks for it.
// Answers for an exact subject go before those with a pattern, each in the order
// of planting. A stub replaces what values and the profile would do, but not
// the limits.
type Stub struct {
	Operation Operation         // Invite, Activate or Check; empty: any of them
	Match     string            // code, address, or (checks) partner or merchant id; * stands for any text; empty: any subject
	Times     int               // how often; 0: once; negative: until a reset
	Status    int               // 200 to 599; 0: the ordinary one, or 200
	Headers   map[string]string // added to the response, or replacing its headers
	Body      []byte            // nil: the ordinary body after an effect, else an error document from 400 on, else nothing
	Delay     time.Duration     // between effect and answer; at most one hour
	Effect    bool              // the ordinary handling comes first
	Abort     Abort             // empty: the whole response is sent
}

const (
	maxPlanted = 100_000 // answers with an exact subject
	maxGlobs   = 1_000   // answers with a pattern: each request looks at all of them
)

// ErrFull says that no more can be planted before a reset.
var ErrFull = errors.New("sandbox: no room for more; DELETE /state makes room")

// AddCode makes a code known, or known again as unspent.
func (s *Sandbox) AddCode(c Code) error {
	switch {
	case !lengthIn(c.Code, maxCode):
		return fmt.Errorf("sandbox: code: want 1 to %d characters", maxCode)
	case c.MerchantID != "" && !lengthIn(c.MerchantID, maxMerchantID):
		return fmt.Errorf("sandbox: merchantId: want at most %d characters", maxMerchantID)
	case len(c.Token) > maxToken || strings.ContainsFunc(c.Token, notInToken):
		return fmt.Errorf("sandbox: token: want at most %d visible ASCII characters", maxToken)
	}
	st := s.state.Load()
	st.mu.Lock()
	defer st.mu.Unlock()
	if c.PartnerID != "" && st.byPartner[c.PartnerID] == nil {
		return errors.New("sandbox: partnerId: no account has it")
	}
	if c.Token != "" {
		if other := st.shops[c.Token]; st.byToken[c.Token] != nil || (other != nil && other.text != c.Code) {
			return errors.New("sandbox: token: it belongs to an account or to another code")
		}
	}
	sub := st.subject(Activate, c.Code, s.options.MaxRecords)
	if sub == nil {
		return ErrFull
	}
	// A token that was issued stays known: whoever holds it must see it work.
	sub.code = code{
		merchantID: c.MerchantID, token: c.Token, owner: c.PartnerID,
		planted: true, reusable: c.Reusable,
		asked: sub.code.asked, checks: sub.code.checks,
	}
	return nil
}

// AddStub plants a response; see [Stub].
func (s *Sandbox) AddStub(a Stub) error {
	if err := a.check(); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	if a.Times == 0 {
		a.Times = 1
	}
	a.Headers = maps.Clone(a.Headers)
	st := s.state.Load()
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.plants.add(a)
}

func (a Stub) check() error {
	switch {
	case !slices.Contains([]string{"", string(Invite), string(Activate), string(Check)}, string(a.Operation)):
		return fmt.Errorf("operation %q: want invite, activate or check", a.Operation)
	case !slices.Contains([]string{"", string(AbortBefore), string(AbortHeaders), string(AbortBody)}, string(a.Abort)):
		return fmt.Errorf("cut %q: want before, headers or body", a.Abort)
	case a.Status != 0 && (a.Status < 200 || a.Status > 599):
		return fmt.Errorf("status %d: want 200 to 599", a.Status)
	case a.Delay < 0 || a.Delay > time.Hour:
		return fmt.Errorf("delay %v: want 0s to 1h", a.Delay)
	case len(a.Match) > 400:
		return errors.New("match: want at most 400 bytes")
	case (a.Status == 204 || a.Status == 304) && (len(a.Body) > 0 || a.Abort == AbortBody || a.Abort == AbortHeaders):
		return fmt.Errorf("status %d: has no body to send or to cut", a.Status)
	}
	for k, v := range a.Headers {
		if k == "" || strings.ContainsFunc(k, notInHeaderName) {
			return fmt.Errorf("headers: %q is no header name", k)
		}
		if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return fmt.Errorf("headers: the value of %q has a control character", k)
		}
		if slices.Contains([]string{"content-length", "transfer-encoding", "connection"}, strings.ToLower(k)) {
			return fmt.Errorf("headers: %q cannot be planted; see cut", k)
		}
	}
	return nil
}

func notInHeaderName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
}

// ordinary tells whether the response is the ordinary one but for headers and delay.
func (a Stub) ordinary() bool { return a.Status == 0 && a.Body == nil && a.Abort == "" }

type activeStub struct{ Stub }

type stubKey struct {
	op   Operation
	text string
}

// stubList are the responses that wait for their requests.
type stubList struct {
	exact map[stubKey][]*activeStub
	globs []*activeStub
	n     int // in exact
}

func (p *stubList) add(a Stub) error {
	if a.Match == "" || strings.Contains(a.Match, "*") {
		if len(p.globs) >= maxGlobs {
			return ErrFull
		}
		p.globs = append(p.globs, &activeStub{a})
		return nil
	}
	if p.n >= maxPlanted {
		return ErrFull
	}
	p.n++
	key := stubKey{a.Operation, a.Match}
	p.exact[key] = append(p.exact[key], &activeStub{a})
	return nil
}

// take uses up one response for the request, nil when none waits for it.
func (p *stubList) take(op Operation, text string) *activeStub {
	if p.n > 0 {
		for _, key := range [2]stubKey{{op, text}, {"", text}} {
			if list := p.exact[key]; len(list) > 0 {
				a := list[0]
				if a.use() {
					p.n--
					if list = list[1:]; len(list) == 0 {
						delete(p.exact, key)
					} else {
						p.exact[key] = list
					}
				}
				return a
			}
		}
	}
	for i, a := range p.globs {
		if (a.Operation == "" || a.Operation == op) && globMatches(a.Match, text) {
			if a.use() {
				p.globs = append(p.globs[:i], p.globs[i+1:]...)
			}
			return a
		}
	}
	return nil
}

// use counts one use and tells whether it was the last.
func (p *activeStub) use() bool {
	if p.Times < 0 {
		return false
	}
	p.Times--
	return p.Times == 0
}

// globMatches tells whether text fits a pattern in which * stands for any text.
func globMatches(pattern, text string) bool {
	if pattern == "" {
		return true
	}
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	last := len(parts) - 1
	if !strings.HasPrefix(text, parts[0]) {
		return false
	}
	text = text[len(parts[0]):]
	for _, part := range parts[1:last] {
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return strings.HasSuffix(text, parts[last])
}
