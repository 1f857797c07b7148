package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/invoicebox/sandbox"
)

const description = `Simulates the partner API of Invoicebox. It misbehaves on purpose and is no product.

Every flag can also be set by an environment variable (INVOICEBOX_SANDBOX_ and its name in capitals, dashes as underscores: INVOICEBOX_SANDBOX_LISTEN) and by a member of the YAML file given with --config. A flag goes before the environment, and that before the file.`

// flags are the command line.
type flags struct {
	config.Sandbox `embed:""`
}

// handler is where the log goes.
func (f flags) handler(w io.Writer) slog.Handler {
	var level slog.Level
	_ = level.UnmarshalText([]byte(f.LogLevel)) // the setting was checked
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
		CountRefused: f.CountRefused, BareLimits: f.BareLimits, AdminHosts: f.AdminHost, MaxRecords: f.Keep, Logger: log,
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
