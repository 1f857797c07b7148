package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/journal"
)

// shops are the commands about a shop.
type shops struct {
	List shopsList `cmd:"" settings:"journal-url" help:"List shops and how far they have come, the newest first."`
	Show shopsShow `cmd:"" settings:"journal-url" help:"A shop's history: its events, operations and results."`

	Disconnect shopsDisconnect `cmd:"" settings:"journal-url,keyset-file" help:"Disconnect a shop: an event says that its credentials must not be used any more, and the worker destroys the secrets after its --destroy-after. A new activation code connects the shop again."`
	Import     shopsImport     `cmd:"" settings:"journal-url,keyset-file" help:"Take over shops that an older integration connected: the worker checks each merchant id and token at Invoicebox and stores them. A line that was imported before changes nothing."`
	Erase      shopsErase      `cmd:"" settings:"journal-url,keyset-file" help:"Erase the personal data of a shop from the journal: address, code, responses, dead letters, and what operators wrote. The shop's id, and what recognizes a repeated event, stay. An active shop is disconnected."`
}

type shopsShow struct {
	outputFlag
	Shop    string `arg:"" name:"shop" help:"The shop's id."`
	Account string `name:"account" group:"command" default:"default" help:"The shop's partner account (default ${default})."`
}

type shopJSON struct {
	Account string       `json:"account"`
	Shop    string       `json:"shop"`
	Invited *invitedJSON `json:"invited,omitzero"`
	Active  *activeJSON  `json:"active,omitzero"`
	// DisconnectedAt is when the shop's credentials were disconnected.
	DisconnectedAt *time.Time `json:"disconnectedAt,omitzero"`

	Events     []eventJSON     `json:"events"`
	Operations []operationJSON `json:"operations"`
	Published  []outputJSON    `json:"published"`
	// DeadLetters are the newest records that could not be used and name the shop.
	DeadLetters []deadLetterJSON `json:"deadLetters,omitzero"`
}

type invitedJSON struct {
	At           *time.Time `json:"at"`
	InvitationID string     `json:"invitationId,omitzero"`
}

type activeJSON struct {
	At         *time.Time `json:"at"`
	MerchantID string     `json:"merchantId"`
	Version    int64      `json:"version"`
	Reference  string     `json:"ref,omitzero"`
	Operation  string     `json:"operation,omitzero"`
}

// Run shows a shop.
func (c *shopsShow) Run(ctx context.Context, s *settings, env environment) error {
	key := journal.ShopKey{Account: c.Account, Shop: c.Shop}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		letters, err := j.DeadLetters(ctx, journal.DeadLetterFilter{Shop: key, NoRecords: true, Limit: shownLetters})
		if err != nil {
			return err
		}
		h, err := j.Shop(ctx, key)
		if errors.Is(err, journal.ErrNotFound) && len(letters) > 0 {
			h, err = journal.ShopHistory{Shop: key}, nil
		}
		if errors.Is(err, journal.ErrNotFound) || err == nil && len(h.Events)+len(h.Operations)+len(h.Output)+len(letters) == 0 {
			return fmt.Errorf("nothing is known of shop %q in account %q", c.Shop, c.Account)
		}
		if err != nil {
			return err
		}
		view := shopJSON{Account: key.Account, Shop: key.Shop, Events: eventViews(h.Events), Published: outputViews(h.Output)}
		if h.Invited != nil {
			view.Invited = &invitedJSON{At: timeJSON(h.Invited.At), InvitationID: h.Invited.InvitationID}
		}
		view.DisconnectedAt = timeJSON(h.Disconnected)
		if h.Active != nil {
			view.Active = &activeJSON{At: timeJSON(h.Active.At), MerchantID: h.Active.MerchantID, Version: h.Active.Version, Operation: idText(h.Active.Operation)}
			credential, err := j.Credential(ctx, key, h.Active.Version)
			if err != nil && !errors.Is(err, journal.ErrNotFound) {
				return err
			}
			view.Active.Reference = credential.Reference
		}
		situation, err := app.ReadSituation(ctx, j)
		if err != nil {
			return err
		}
		var why notes
		marks := map[uuid.UUID]string{}
		for _, o := range h.Operations {
			obstacles, err := situation.Obstacles(ctx, o.OperationRecord)
			if err != nil {
				return err
			}
			detail := detailView(o)
			detail.WaitsFor = obstacleViews(obstacles)
			view.Operations = append(view.Operations, detail)
			marks[o.UUID] = why.mark(obstacles)
		}
		for _, l := range letters {
			view.DeadLetters = append(view.DeadLetters, deadLetterView(l))
		}
		return c.write(env.stdout, view, func(w io.Writer) { printShop(w, h, view, letters, marks, &why) })
	})
}

// shownLetters bounds the dead letters that are shown of a shop.
const shownLetters = 50

func printShop(w io.Writer, h journal.ShopHistory, view shopJSON, letters []journal.DeadLetterRecord, marks map[uuid.UUID]string, why *notes) {
	pairs := []string{"shop", h.Shop.Shop, "account", h.Shop.Account}
	if h.Invited != nil {
		pairs = append(pairs, "invited", formatTimeMillis(h.Invited.At), "invitation id", h.Invited.InvitationID)
	}
	if h.Active != nil {
		pairs = append(pairs, "active since", formatTimeMillis(h.Active.At), "merchant id", h.Active.MerchantID,
			"credentials", view.Active.Reference)
	}
	if !h.Disconnected.IsZero() {
		pairs = append(pairs, "disconnected", formatTimeMillis(h.Disconnected))
	}
	printFields(w, pairs...)
	_, _ = fmt.Fprintln(w)
	printEvents(w, h.Events)
	var rows [][]any
	for _, o := range h.Operations {
		rows = append(rows, []any{o.UUID, o.Kind, o.State.String() + marks[o.UUID], o.Reason, o.Run, attemptsText(o.OperationRecord), dueOrChanged(o.OperationRecord)})
	}
	_, _ = fmt.Fprintln(w)
	printTable(w, []any{nowrap("operation"), "kind", "state", "reason", "run", "tries", nowrap("changed or due")}, rows, "no operations")
	why.print(w)
	_, _ = fmt.Fprintln(w)
	printOutputs(w, h.Output)
	if len(letters) == 0 {
		return
	}
	rows = nil
	for _, l := range letters {
		rows = append(rows, letterRow(l))
	}
	_, _ = fmt.Fprintln(w, "\ndead letters of the shop, as far as they name it:")
	printTable(w, letterColumns(), rows, "")
}
