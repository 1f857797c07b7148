package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// resolve prints what a reference stands for.
type resolve struct {
	outputFlag
	Reference string `arg:"" name:"reference" help:"As in an activated event, such as ref+sealed://journal/invoicebox/default/shop-1?version=1; #/token or #/merchantId chooses the field, else the token."`
}

type resolveJSON struct {
	Reference  string `json:"ref"`
	MerchantID string `json:"merchantId,omitzero"`
	Token      string `json:"token,omitzero"`
}

// Run prints the secret. The audit entry is on disk before a byte is printed.
func (c *resolve) Run(ctx context.Context, s *settings, env environment) error {
	ref, err := schemas.ParseReference(c.Reference)
	if err != nil {
		return &usageError{"this is no credentials reference; one looks like ref+sealed://journal/invoicebox/default/shop-1?version=1#/token"}
	}
	if ref.Store != schemas.StoreSealed {
		return fmt.Errorf("the store %q is not this journal's: this version resolves references that begin with ref+sealed://", ref.Store)
	}
	keys, err := s.keyset()
	if err != nil {
		return err
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		row, err := j.Credential(ctx, journal.ShopKey{Account: ref.Account, Shop: ref.Shop}, ref.Version)
		if errors.Is(err, journal.ErrNotFound) {
			return fmt.Errorf("%s has no credentials for this reference", s.JournalURL)
		}
		if err != nil {
			return err
		}
		secret, err := credentials.NewSealed(keys).Open(row)
		if errors.Is(err, credentials.ErrUnreadable) {
			return fmt.Errorf("the credentials cannot be opened: %s is not the keyset that sealed them, or the row is damaged", s.KeysetFile)
		}
		if err != nil {
			return err
		}
		field := ref.Field
		if field == "" && c.Output != "json" {
			field = schemas.FieldToken
		}
		asked := ref.Pinned(row.Version)
		asked.Field = field
		if err := j.AppendAudit(ctx, journal.AuditEntry{
			At: time.Now(), Actor: person(), Act: "resolve", Subject: ref.Account + "/" + ref.Shop, Detail: asked.String(),
		}); err != nil {
			return fmt.Errorf("nothing is printed, because it cannot be written to the audit trail: %w", err)
		}
		view := resolveJSON{Reference: asked.String()}
		if field != schemas.FieldToken {
			view.MerchantID = secret.MerchantID
		}
		if field != schemas.FieldMerchantID {
			view.Token = secret.Token.Reveal()
		}
		return c.write(env.stdout, view, func(w io.Writer) {
			_, _ = fmt.Fprintln(w, view.MerchantID+view.Token)
		})
	})
}
