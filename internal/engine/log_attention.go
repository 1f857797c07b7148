package engine

import (
	"log/slog"

	"invoicebox-worker/internal/journal"
)

// LogAttention logs an operation that the planner moves to attention at once. It logs
// again when the journal repeats a batch.
func LogAttention(plan journal.Planner, log *slog.Logger) journal.Planner {
	return func(e journal.Event, v journal.ShopView) journal.Plan {
		p := plan(e, v)
		if p.New != nil && p.New.Attention != "" {
			log.Warn(needsDecision, "operation", p.New.UUID.String(), "kind", e.Kind.String(), "account", e.Shop.Account, "shop", e.Shop.Shop, "reason", p.New.Attention)
		}
		return p
	}
}
