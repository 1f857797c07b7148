package main

import (
	"context"
	"io"
	"strconv"
	"time"

	"invoicebox-worker/internal/journal"
)

// shopsList lists shops.
type shopsList struct {
	outputFlag
	pageFlags
	Account  string `name:"account" group:"command" placeholder:"NAME" help:"Only shops of this account; by default of all accounts."`
	Stage    string `name:"stage" group:"command" enum:"all,active,invited,disconnected,other" default:"all" help:"active: it can take payments; invited: it was invited and is not active; disconnected: it was active until an operator disconnected it; other: none of these; or all (default ${default})."`
	Verified string `name:"verification" group:"command" enum:"all,pending,verified,invalid" default:"all" help:"Only active shops whose credentials are pending, verified or invalid; or all (default ${default})."`
	Since    string `name:"since" group:"command" placeholder:"TIME" help:"Only shops that were invited, activated or disconnected last at this time or later: an age such as 24h, or a time such as 2026-01-31T00:00:00Z."`
	Merchant string `name:"merchant-id" group:"command" placeholder:"ID" help:"Only shops with this merchant id."`
}

type shopRowJSON struct {
	Number    int64      `json:"number"` // for --after
	Account   string     `json:"account"`
	Shop      string     `json:"shop"`
	Stage     string     `json:"stage"`
	InvitedAt *time.Time `json:"invitedAt,omitzero"`
	ActiveAt  *time.Time `json:"activeAt,omitzero"`

	DisconnectedAt *time.Time `json:"disconnectedAt,omitzero"`

	MerchantID string `json:"merchantId,omitzero"`
	Verified   string `json:"verification,omitzero"`
	Version    int64  `json:"version,omitzero"` // the journal's number of the current credentials
	Reference  string `json:"ref,omitzero"`
}

// shopStages are the values of --stage.
func shopStages() map[string]journal.ShopStage {
	return map[string]journal.ShopStage{"all": journal.AnyShop, "active": journal.ActiveShop, "invited": journal.InvitedShop, "disconnected": journal.DisconnectedShop, "other": journal.OtherShop}
}

// shopVerifications are the values of --verification.
func shopVerifications() map[string]journal.CredentialState {
	list := map[string]journal.CredentialState{"all": 0}
	for _, s := range []journal.CredentialState{journal.CredentialPending, journal.CredentialVerified, journal.CredentialInvalid} {
		list[s.String()] = s
	}
	return list
}

func shopVerification(s journal.ShopRecord) string {
	if s.ActiveAt.IsZero() {
		return ""
	}
	return s.State.String()
}

func shopStage(s journal.ShopRecord) string {
	switch {
	case !s.ActiveAt.IsZero():
		return "active"
	case !s.DisconnectedAt.IsZero():
		return "disconnected"
	case !s.InvitedAt.IsZero():
		return "invited"
	}
	return "other"
}

// Run lists shops.
func (c *shopsList) Run(ctx context.Context, s *settings, env environment) error {
	limit, err := c.limit(c.Output)
	if err != nil {
		return err
	}
	f := journal.ShopFilter{Account: c.Account, Stage: shopStages()[c.Stage], Merchant: c.Merchant, State: shopVerifications()[c.Verified]}
	if c.Since != "" {
		var ok bool
		if f.Since, ok = instant(c.Since, time.Now()); !ok {
			return &usageError{"--since must be an age such as 24h, or a time such as 2026-01-31T00:00:00Z"}
		}
	}
	if c.After != "" {
		if f.Before, err = strconv.ParseInt(c.After, 10, 64); err != nil || f.Before < 1 {
			return &usageError{"--after must be the number of a shop, as listed"}
		}
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		records, more, err := readRows(limit, f.Before, func(before int64, limit int) ([]journal.ShopRecord, error) {
			f.Before, f.Limit = before, limit
			return j.Shops(ctx, f)
		}, func(r journal.ShopRecord) int64 { return r.ID })
		if err != nil {
			return err
		}
		views, rows := []shopRowJSON{}, [][]any{}
		for _, r := range records {
			views = append(views, shopRowJSON{
				Number: r.ID, Account: r.Shop.Account, Shop: r.Shop.Shop, Stage: shopStage(r), InvitedAt: timeJSON(r.InvitedAt), ActiveAt: timeJSON(r.ActiveAt),
				DisconnectedAt: timeJSON(r.DisconnectedAt),
				Verified:       shopVerification(r),
				MerchantID:     r.Merchant, Version: r.Version, Reference: r.Reference,
			})
			rows = append(rows, []any{r.ID, r.Shop.Account, r.Shop.Shop, shopStage(r), formatTimeMillis(r.InvitedAt), formatTimeMillis(r.ActiveAt), shopVerification(r), r.Merchant, r.Reference})
		}
		if err := c.write(env.stdout, views, func(w io.Writer) {
			printTable(w, []any{"number", "account", nowrap("shop"), "stage", "invited", "active since", "verification", "merchant id", "credentials"}, rows, "no shops")
		}); err != nil || !more {
			return err
		}
		notifyTruncated(env, limit, strconv.FormatInt(records[limit-1].ID, 10))
		return nil
	})
}
