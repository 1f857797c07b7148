package sandbox

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The default account: the demo data that Invoicebox publishes in its
// documentation. They are a secret of nobody.
const (
	DefaultPartnerID = "ffffffff-ffff-ffff-ffff-ffffffffffff"
	DefaultToken     = "b37c4c689295904ed21eee5d9a48d42e"
)

// Defaults of [Options].
const (
	DefaultRequestsPerWindow = 100
	DefaultEgressPerWindow   = 500
	DefaultWindow            = 30 * time.Second
	DefaultMaxRecords        = 1_000_000
)

// An Account is a partner that may call the API.
type Account struct {
	PartnerID string // 1 to 36 characters, unique
	Token     string // 1 to 512 characters, unique; the partner's own token

	// SigningKey, when set, makes X-Signature required on every POST.
	SigningKey string
	// SigningAlgorithm is hmac-sha1 (the default), hmac-sha256 or hmac-sha512.
	SigningAlgorithm string
	// SigningEncoding is hex (the default) or base64.
	SigningEncoding string

	// RequestsPerWindow overrides that of Options: 0 keeps it, negative lifts
	// the limit.
	RequestsPerWindow int
}

// A Profile says how much misbehaviour nobody asked for is mixed in.
type Profile string

// The profiles.
const (
	Calm      Profile = "calm"      // no faults; latency only as set
	Realistic Profile = "realistic" // long-tailed latency, some 503, rarely a lost answer; the default
	Hostile   Profile = "hostile"   // everything that can go wrong does
)

// An IDForm is the form of an invitation's id, on which the documentation
// contradicts itself.
type IDForm string

// The forms of an invitation's id.
const (
	UUIDs IDForm = "uuid" // a JSON string
	Ints  IDForm = "int"  // a JSON number
)

// CodeReuse says what the second use of a code by the same partner gives.
type CodeReuse string

// The readings of a second use.
const (
	Once       CodeReuse = "once"       // refused
	Repeatable CodeReuse = "repeatable" // the same answer again, without a new effect
)

// CountAt says when, between a request's arrival and its response, the server
// counts it towards the limits.
type CountAt string

// The moments of counting.
const (
	CountAtArrival CountAt = "arrival"
	CountAtAnswer  CountAt = "answer"
	CountBetween   CountAt = "between" // a random moment of each request
)

// Options are the settings of a [Sandbox]. The zero value is usable: the
// default account, profile realistic, seed 0, the documented limits. Where a
// reading says "hostile draws", the zero value lets the profile hostile choose
// for each code or address anew, and the other profiles take the first reading.
type Options struct {
	Accounts []Account // empty: the default account
	Profile  Profile   // empty: Realistic
	Seed     uint64    // 0 is a seed like any other

	// Latency is the time from arrival to effect: exact under Calm, the median
	// of a long-tailed distribution otherwise. 0 is none under Calm and the
	// profile's own median otherwise. At most one hour.
	Latency time.Duration

	RequestsPerWindow int           // per account; 0 is 100, negative lifts the limit
	EgressPerWindow   int           // per IP address; 0 is 500, negative lifts the limit
	Window            time.Duration // 0 is 30 s; at most one day

	// BasePath stands before every route of the API, without a slash at its end.
	BasePath string

	StrictUserAgent  bool      // demand the documented form name/version (details)
	InvitationIDs    IDForm    // uuid or int; hostile draws
	CodeReuse        CodeReuse // once or repeatable; hostile draws
	RefusalStatus    int       // of a refused code: 422, 400, 403, 404 or 409; hostile draws
	RefusalCode      string    // error.code of every refused code; empty: one per reason
	RefusalFields    bool      // a refusal names the value in error.fields; hostile draws
	FlatErrors       bool      // code and message at the top level instead of under error; hostile draws
	EmptyTokenStatus int       // of a POST without a token: 401 or 403
	WrongTokenStatus int       // of any call with a wrong token: 401 or 403
	OnlyPlantedCodes bool      // refuse activation codes that nobody planted
	CountAt          CountAt   // arrival, answer or between; hostile draws between
	CountRefused     bool      // a request answered 429 counts towards the limit too
	BareLimits       bool      // 429 without body and Retry-After; hostile draws

	// AdminHosts are names that an admin request may have in its Host header
	// beside localhost and IP addresses.
	AdminHosts []string

	// MaxRecords bounds what is remembered: the requests in the log, and the
	// different codes and addresses each. 0 is 1,000,000.
	MaxRecords int

	Logger *slog.Logger // nil: nothing is logged
}

// withDefaults returns the options with every default filled in that does not
// depend on the profile, or an error that names the setting that is wrong.
func (o Options) withDefaults() (Options, error) {
	if len(o.Accounts) == 0 {
		o.Accounts = []Account{{PartnerID: DefaultPartnerID, Token: DefaultToken}}
	}
	o.Accounts = append([]Account(nil), o.Accounts...)
	o.AdminHosts = append([]string(nil), o.AdminHosts...)
	if o.Profile == "" {
		o.Profile = Realistic
	}
	setInt := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	setInt(&o.RequestsPerWindow, DefaultRequestsPerWindow)
	setInt(&o.EgressPerWindow, DefaultEgressPerWindow)
	setInt(&o.EmptyTokenStatus, 401)
	setInt(&o.WrongTokenStatus, 401)
	setInt(&o.MaxRecords, DefaultMaxRecords)
	if o.Window == 0 {
		o.Window = DefaultWindow
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := o.check(); err != nil {
		return o, fmt.Errorf("sandbox: %w", err)
	}
	return o, o.checkAccounts()
}

func (o Options) check() error {
	for _, c := range []struct {
		setting, value string
		right          []string
	}{
		{"profile", string(o.Profile), []string{string(Calm), string(Realistic), string(Hostile)}},
		{"invitation ids", string(o.InvitationIDs), []string{"", string(UUIDs), string(Ints)}},
		{"code reuse", string(o.CodeReuse), []string{"", string(Once), string(Repeatable)}},
		{"count at", string(o.CountAt), []string{"", string(CountAtArrival), string(CountAtAnswer), string(CountBetween)}},
		{"refusal status", fmt.Sprint(o.RefusalStatus), []string{"0", "400", "403", "404", "409", "422"}},
		{"empty token status", fmt.Sprint(o.EmptyTokenStatus), []string{"401", "403"}},
		{"wrong token status", fmt.Sprint(o.WrongTokenStatus), []string{"401", "403"}},
	} {
		if !slices.Contains(c.right, c.value) {
			return fmt.Errorf("%s %q: want one of %s", c.setting, c.value, strings.Join(c.right, " "))
		}
	}
	switch {
	case o.Latency < 0 || o.Latency > time.Hour:
		return fmt.Errorf("latency %v: want 0 to 1h", o.Latency)
	case o.Window < time.Millisecond || o.Window > 24*time.Hour:
		return fmt.Errorf("window %v: want 1ms to 24h", o.Window)
	case o.MaxRecords < 1:
		return fmt.Errorf("max records %d: want 1 or more", o.MaxRecords)
	case o.BasePath != "" && (o.BasePath[0] != '/' || strings.HasSuffix(o.BasePath, "/")):
		return fmt.Errorf("base path %q: want a slash in front and none at the end", o.BasePath)
	}
	return nil
}

func (o Options) checkAccounts() error {
	tokens, partners := map[string]bool{}, map[string]bool{}
	for i, a := range o.Accounts {
		switch {
		case !lengthIn(a.PartnerID, maxPartnerID):
			return fmt.Errorf("sandbox: account %d: the partner id must have 1 to %d characters", i+1, maxPartnerID)
		case !lengthIn(a.Token, maxToken) || strings.ContainsFunc(a.Token, notInToken):
			return fmt.Errorf("sandbox: account %d: the token must have 1 to %d visible ASCII characters", i+1, maxToken)
		case partners[a.PartnerID]:
			return fmt.Errorf("sandbox: account %d: another account has this partner id", i+1)
		case tokens[a.Token]:
			return fmt.Errorf("sandbox: account %d: another account has this token", i+1)
		case signers[a.SigningAlgorithm] == nil:
			return fmt.Errorf("sandbox: account %d: signing algorithm %q: want hmac-sha1, hmac-sha256 or hmac-sha512", i+1, a.SigningAlgorithm)
		case !slices.Contains([]string{"", "hex", "base64"}, a.SigningEncoding):
			return fmt.Errorf("sandbox: account %d: signing encoding %q: want hex or base64", i+1, a.SigningEncoding)
		}
		tokens[a.Token], partners[a.PartnerID] = true, true
	}
	return nil
}

// lengthIn tells whether s has 1 to limit characters.
func lengthIn(s string, limit int) bool {
	return s != "" && (len(s) <= limit || utf8.RuneCountInString(s) <= limit)
}

func notInToken(r rune) bool { return r <= ' ' || r > '~' }
