package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"invoicebox-worker/invoicebox/sandbox"
)

const description = `Simulates the partner API of Invoicebox. It misbehaves on purpose and is no product.

Every flag can also be set by an environment variable (INVOICEBOX_SANDBOX_ and its name in capitals, dashes as underscores: INVOICEBOX_SANDBOX_LISTEN) and by a member of the YAML file given with --config. A flag goes before the environment, and that before the file.`

// flags are the settings of the program; every name is a promise to scripts.
type flags struct {
	Config      string   `help:"YAML file with settings." placeholder:"FILE"`
	Listen      string   `help:"Address of the API." default:"127.0.0.1:8080"`
	AdminListen string   `help:"Address of the admin endpoints, which ask for no password." default:"127.0.0.1:8081"`
	AdminHost   []string `help:"A name that admin requests may use in their Host header, beside localhost and IP addresses (repeatable)." placeholder:"NAME"`
	TLSCertFile string   `name:"tls-cert-file" help:"Certificate of the API; with it the API speaks https." placeholder:"FILE"`
	TLSKeyFile  string   `name:"tls-key-file" help:"Key of that certificate." placeholder:"FILE"`

	Account          []string `help:"A partner account (repeatable). Without it, there is one with the public demo data of the documentation." placeholder:"PARTNER_ID:TOKEN" sep:"none"`
	SigningKey       []string `help:"Demands X-Signature from an account (repeatable)." placeholder:"PARTNER_ID:KEY" sep:"none"`
	SigningAlgorithm string   `help:"Algorithm of X-Signature: ${enum}." enum:"hmac-sha1,hmac-sha256,hmac-sha512" default:"hmac-sha1"`
	SigningEncoding  string   `help:"Encoding of X-Signature: ${enum}." enum:"hex,base64" default:"hex"`

	Profile                 string        `help:"How much goes wrong unasked: ${enum}." enum:"calm,realistic,hostile" default:"realistic"`
	Seed                    *uint64       `help:"Where all chance comes from; drawn and printed when not set." placeholder:"N"`
	Latency                 time.Duration `help:"Time from arrival to effect: exact with calm, the median otherwise (0: the profile's own)." default:"0s"`
	RequestsPerWindow       int           `help:"Limit of an account; negative: none." default:"100"`
	EgressRequestsPerWindow int           `help:"Limit of an IP address; negative: none." default:"500"`
	Window                  time.Duration `help:"Length of the sliding window of both limits." default:"30s"`

	BasePath         string `help:"Path in front of every route of the API." placeholder:"/PATH"`
	StrictUserAgent  bool   `help:"Demand a User-Agent of the form name/version (details)."`
	InvitationIDs    string `name:"invitation-ids" help:"Form of an invitation's id: ${enum} (auto: uuid, hostile draws)." enum:"auto,uuid,int" default:"auto"`
	CodeReuse        string `help:"The second use of a code by the same partner: ${enum} (auto: once, hostile draws)." enum:"auto,once,repeatable" default:"auto"`
	RefusalStatus    string `help:"Status of a refused code: ${enum} (auto: 422, hostile draws)." enum:"auto,400,403,404,409,422" default:"auto"`
	RefusalCode      string `help:"error.code of every refused code, instead of one for each reason." placeholder:"CODE"`
	RefusalFields    bool   `help:"A refused code is named in error.fields too (hostile draws)."`
	FlatErrors       bool   `help:"Errors have code and message at the top level (hostile draws)."`
	EmptyTokenStatus int    `help:"Status of a POST without a token: ${enum}." enum:"401,403" default:"401"`
	WrongTokenStatus int    `help:"Status of a call with a wrong token: ${enum}." enum:"401,403" default:"401"`
	OnlyPlantedCodes bool   `help:"Refuse activation codes that nobody planted."`
	CountAt          string `help:"When a request counts towards the limits: ${enum} (auto: arrival, hostile between)." enum:"auto,arrival,answer,between" default:"auto"`
	CountRefused     bool   `help:"Requests answered 429 count towards the limits too."`
	BareLimits       bool   `help:"429 comes without body and Retry-After (hostile draws)."`

	Keep      int    `help:"Requests, and codes and addresses, that are remembered." default:"1000000"`
	LogLevel  string `help:"Least level that is logged, on stderr: ${enum}; debug logs every request." enum:"debug,info,warn,error" default:"info"`
	LogFormat string `help:"Form of the log: ${enum}." enum:"text,json" default:"text"`
}

// handler is where the log goes.
func (f flags) handler(w io.Writer) slog.Handler {
	var level slog.Level
	_ = level.UnmarshalText([]byte(f.LogLevel)) // the enum of the flag has checked it
	o := &slog.HandlerOptions{Level: level}
	if f.LogFormat == "json" {
		return slog.NewJSONHandler(w, o)
	}
	return slog.NewTextHandler(w, o)
}

// options are the settings as the package wants them. Errors name no token.
func (f flags) options(log *slog.Logger) (sandbox.Options, error) {
	o := sandbox.Options{
		Profile: sandbox.Profile(f.Profile), Latency: f.Latency,
		RequestsPerWindow: f.RequestsPerWindow, EgressPerWindow: f.EgressRequestsPerWindow, Window: f.Window,
		BasePath: f.BasePath, StrictUserAgent: f.StrictUserAgent,
		InvitationIDs: sandbox.IDForm(orUnset(f.InvitationIDs)), CodeReuse: sandbox.CodeReuse(orUnset(f.CodeReuse)),
		RefusalCode: f.RefusalCode, RefusalFields: f.RefusalFields, FlatErrors: f.FlatErrors,
		EmptyTokenStatus: f.EmptyTokenStatus, WrongTokenStatus: f.WrongTokenStatus,
		OnlyPlantedCodes: f.OnlyPlantedCodes, CountAt: sandbox.CountAt(orUnset(f.CountAt)),
		CountRefused: f.CountRefused, BareLimits: f.BareLimits, AdminHosts: f.AdminHost, Keep: f.Keep, Logger: log,
	}
	o.RefusalStatus, _ = strconv.Atoi(f.RefusalStatus) // 0 for auto
	if f.Seed != nil {
		o.Seed = *f.Seed
	} else {
		o.Seed = newSeed()
	}
	switch {
	case f.RequestsPerWindow == 0 || f.EgressRequestsPerWindow == 0:
		return o, errors.New("--requests-per-window, --egress-requests-per-window: want 1 or more, or a negative number for no limit")
	case f.Window == 0:
		return o, errors.New("--window 0s: want 1ms to 24h")
	case f.Keep == 0:
		return o, errors.New("--keep 0: want 1 or more")
	case (f.TLSCertFile == "") != (f.TLSKeyFile == ""):
		return o, errors.New("--tls-cert-file and --tls-key-file: one is of no use without the other")
	}
	err := f.accounts(&o)
	return o, err
}

func orUnset(value string) string {
	if value == "auto" {
		return ""
	}
	return value
}

// accounts reads PARTNER_ID:TOKEN and PARTNER_ID:KEY. A token may contain
// colons, a partner id cannot.
func (f flags) accounts(o *sandbox.Options) error {
	for i, text := range f.Account {
		partner, token, ok := strings.Cut(text, ":")
		if !ok {
			return fmt.Errorf("--account, number %d: want PARTNER_ID:TOKEN", i+1)
		}
		o.Accounts = append(o.Accounts, sandbox.Account{PartnerID: partner, Token: token})
	}
	if len(o.Accounts) == 0 {
		o.Accounts = []sandbox.Account{{PartnerID: sandbox.DefaultPartnerID, Token: sandbox.DefaultToken}}
	}
	for i, text := range f.SigningKey {
		partner, key, ok := strings.Cut(text, ":")
		if !ok || key == "" {
			return fmt.Errorf("--signing-key, number %d: want PARTNER_ID:KEY", i+1)
		}
		found := false
		for j := range o.Accounts {
			if a := &o.Accounts[j]; a.PartnerID == partner {
				a.SigningKey, a.SigningAlgorithm, a.SigningEncoding = key, f.SigningAlgorithm, f.SigningEncoding
				found = true
			}
		}
		if !found {
			return fmt.Errorf("--signing-key, number %d: no account has this partner id", i+1)
		}
	}
	return nil
}
