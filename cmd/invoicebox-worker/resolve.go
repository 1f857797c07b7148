package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/schemas"
)

// resolve prints what a reference stands for.
type resolve struct {
	outputFlag
	Actor     string `name:"actor" group:"command" placeholder:"NAME" help:"Who asks, for the audit trail; else the system's user and host."`
	Reason    string `name:"reason" group:"command" placeholder:"TEXT" help:"Why, for the audit trail; never a secret."`
	Reference string `arg:"" name:"reference" help:"As in an activated event, such as ref+sealed://journal/invoicebox/default/shop-1?version=1; #/token or #/merchantId chooses the field, else the token."`
}

type resolveJSON struct {
	Reference  string `json:"ref"`
	MerchantID string `json:"merchantId,omitzero"`
	Token      string `json:"token,omitzero"`
}

// Run prints the secret. The audit entry is on disk before a byte is printed. If printing
// fails, another entry says so. A refusal is in the audit trail too.
func (c *resolve) Run(ctx context.Context, s *settings, env environment) error {
	forbidCoreDumps()
	ref, err := schemas.ParseReference(c.Reference)
	if err != nil {
		return &usageError{"this is no credentials reference; one looks like ref+sealed://journal/invoicebox/default/shop-1?version=1#/token"}
	}
	if err := checkActor(&c.Actor, "--reason", c.Reason); err != nil {
		return err
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		field := ref.Field
		if field == "" && c.Output != "json" {
			field = schemas.FieldToken
		}
		asked := ref
		asked.Field = field
		audit := func(act string) error {
			return j.AppendAudit(ctx, journal.AuditEntry{
				At: time.Now(), Actor: c.Actor, Act: act, Subject: ref.Account + "/" + ref.Shop, Detail: strings.TrimSpace(asked.String() + " " + c.Reason),
			})
		}
		secret, version, err := c.open(ctx, s, j, ref)
		if err != nil {
			if auditErr := audit("resolve.refused"); auditErr != nil {
				err = errors.Join(err, fmt.Errorf("the refusal cannot be written to the audit trail: %w", auditErr))
			}
			return err
		}
		asked = asked.Pinned(version)
		if err := audit("resolve"); err != nil {
			return fmt.Errorf("nothing is printed, because it cannot be written to the audit trail: %w", err)
		}
		view := resolveJSON{Reference: asked.String()}
		if field != schemas.FieldToken {
			view.MerchantID = secret.MerchantID
		}
		if field != schemas.FieldMerchantID {
			view.Token = secret.Token.Reveal()
		}
		err = c.write(env.stdout, view, func(w io.Writer) {
			_, _ = fmt.Fprintln(w, view.MerchantID+view.Token)
		})
		if err != nil {
			err = errors.Join(err, audit("resolve.not_printed"))
		}
		return err
	})
}

// open reads the credentials and the number of their version.
func (c *resolve) open(ctx context.Context, s *settings, j journal.Journal, ref schemas.Reference) (credentials.Secret, int64, error) {
	var none credentials.Secret
	keys, err := s.keysetOf(ctx, j)
	if err != nil {
		return none, 0, err
	}
	if ref.Store != schemas.StoreSealed {
		return c.openVault(ctx, s, keys, ref)
	}
	shop := journal.ShopKey{Account: ref.Account, Shop: ref.Shop}
	var row journal.Credential
	if ref.Version == 0 { // a newer one may be stored, and is not in use before it is announced
		row, err = j.PublishedCredential(ctx, shop)
	} else {
		row, err = j.Credential(ctx, shop, ref.Version)
	}
	if errors.Is(err, journal.ErrNotFound) {
		return none, 0, fmt.Errorf("%s has no credentials for this reference", s.JournalURL)
	}
	if err != nil {
		return none, 0, err
	}
	if at, err := schemas.ParseReference(row.Reference); err == nil && at.Store != ref.Store {
		return none, 0, fmt.Errorf("%s has no credentials for this reference: they are at %s", s.JournalURL, row.Reference)
	}
	if row.Sealed == nil {
		return none, 0, fmt.Errorf("%s does not have these credentials any more: they were destroyed, because newer ones replaced them or the shop was disconnected", s.JournalURL)
	}
	secret, err := credentials.NewSealed(keys).Read(ctx, row)
	if errors.Is(err, credentials.ErrUnreadable) {
		return none, 0, fmt.Errorf("the credentials cannot be opened: %s did not seal this row for this shop and version: it was moved or edited in the database, or is damaged", s.KeysetFile)
	}
	return secret, row.Version, err
}

// openVault reads the credentials from OpenBao or Vault.
func (c *resolve) openVault(ctx context.Context, s *settings, keys *keyset.Set, ref schemas.Reference) (credentials.Secret, int64, error) {
	var none credentials.Secret
	vault, err := s.vault(nil)
	if err != nil {
		return none, 0, err
	}
	if vault == nil {
		return none, 0, s.given.Wrong("vault-token-file", "", "must be set, or another way to log in to the store that this reference names")
	}
	store, err := app.OpenVault(&app.Options{Keyset: keys, Vault: vault}, nil, nil)
	if err != nil {
		return none, 0, err
	}
	secret, err := store.Resolve(ctx, ref)
	switch {
	case errors.Is(err, keyset.ErrNoKey):
		return none, 0, fmt.Errorf("the credentials at %s were not written with %s: use the keyset file of the workers that wrote them", store.Address(), s.KeysetFile)
	case errors.Is(err, credentials.ErrUnreadable):
		return none, 0, fmt.Errorf("%s has no credentials of this shop for this reference: they were destroyed, or were written or changed by somebody else", store.Address())
	case err != nil:
		return none, 0, fmt.Errorf("%s: %w", store.Address(), err)
	}
	return secret, secret.Version, nil
}
