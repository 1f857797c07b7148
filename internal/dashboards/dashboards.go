package dashboards

import (
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// All are the dashboards, by the name of their file.
func All() map[string]*dashboard.DashboardBuilder {
	return map[string]*dashboard.DashboardBuilder{"overview.json": overview(), "accounts.json": accounts()}
}

// overview follows an event from Kafka to Kafka.
func overview() *dashboard.DashboardBuilder {
	return begin("invoicebox-worker", "Invoicebox worker").
		WithRow(dashboard.NewRowBuilder("Now")).
		WithPanel(figure("Alerts", "Alerts that fire. Each names its runbook.", unitNone, 1,
			query{`count(ALERTS{alertname=~"Invoicebox.+",alertstate="firing"}) or vector(0)`, ""})).
		WithPanel(figure("Workers", "Workers that Prometheus reads.", unitNone, 0,
			query{`count(invoicebox_worker_build_info{job=~"$job"})`, ""})).
		WithPanel(figure("Relay leaders", "Exactly one worker publishes.", unitNone, 2,
			query{`sum(invoicebox_worker_relay_leader{job=~"$job"})`, ""})).
		WithPanel(figure("Records not read", "Records that wait in the input topics.", unitNone, 1000,
			query{`sum(invoicebox_worker_consumer_lag_records{job=~"$job"})`, ""})).
		WithPanel(figure("Work overdue", "How long the oldest due operation has been due.", unitSeconds, 900,
			query{`max(invoicebox_worker_oldest_due_age_seconds{job=~"$job"})`, ""})).
		WithPanel(figure("Oldest result", "How long the oldest result has waited to be published.", unitSeconds, 300,
			query{`max(invoicebox_worker_outbox_oldest_age_seconds{job=~"$job"})`, ""})).
		WithPanel(figure("Attention", "Operations that wait for an operator's decision.", unitNone, 1,
			query{`sum(max by (reason) (invoicebox_worker_attention{job=~"$job"}))`, ""})).
		WithPanel(figure("Dead letters", "Dead letters in the journal.", unitNone, 0,
			query{`max(invoicebox_worker_dead_letters{job=~"$job"})`, ""})).
		WithRow(dashboard.NewRowBuilder("Input")).
		WithPanel(graph("Records by outcome", "Each input record has one outcome.", unitRate,
			query{rate("outcome", "invoicebox_worker_records_total", ""), "{{outcome}}"})).
		WithPanel(graph("Lag", "Records that were not read yet, by topic.", unitNone,
			query{`sum by (topic) (invoicebox_worker_consumer_lag_records{job=~"$job"})`, "{{topic}}"})).
		WithPanel(graph("Lag in time", "Age of the record that was read last, at most.", unitSeconds,
			query{`max by (topic) (invoicebox_worker_consumer_lag_seconds{job=~"$job"})`, "{{topic}}"})).
		WithPanel(graph("Dead letters by reason", "Records that cannot be used.", unitRate,
			query{rate("topic, reason", "invoicebox_worker_dead_letters_total", ""), "{{topic}} {{reason}}"})).
		WithPanel(graph("Transaction of the inbox", "Duration of one batch.", unitSeconds, quantiles("invoicebox_worker_ingest_duration_seconds", "")...)).
		WithPanel(graph("Rebalances, faults, pauses", "Generations of the consumer group, faults of requests to Kafka, and workers that do not read because the journal is full.", unitNone,
			query{`sum(increase(invoicebox_worker_consumer_generations_total{job=~"$job"}[$__rate_interval]))`, "generations"},
			query{`sum by (class) (increase(invoicebox_worker_consumer_faults_total{job=~"$job"}[$__rate_interval]))`, "fault {{class}}"},
			query{`sum(invoicebox_worker_consumer_paused{job=~"$job"})`, "workers paused"})).
		WithRow(dashboard.NewRowBuilder("Work")).
		WithPanel(graph("Operations", "Operations that have not ended, by state.", unitNone,
			query{`sum by (kind, state) (max by (account, kind, state) (invoicebox_worker_operations{job=~"$job"}))`, "{{kind}} {{state}}"})).
		WithPanel(graph("Calls by outcome", "Calls to Invoicebox.", unitRate,
			query{rate("operation, outcome", "invoicebox_worker_call_duration_seconds_count", ""), "{{operation}} {{outcome}}"})).
		WithPanel(graph("Duration of calls", "Calls to Invoicebox.", unitSeconds, quantiles("invoicebox_worker_call_duration_seconds", "")...)).
		WithPanel(graph("Ends of operations", "Operations that ended, or went to an operator, by reason.", unitRate,
			query{rate("kind, state, reason", "invoicebox_worker_operations_finished_total", ""), "{{kind}} {{state}} {{reason}}"})).
		WithPanel(graph("Attention by reason", "Operations that wait for an operator's decision.", unitNone,
			query{`max by (reason) (invoicebox_worker_attention{job=~"$job"})`, "{{reason}}"})).
		WithPanel(graph("Operator actions", "Executed and refused.", unitNone,
			query{`sum by (action, result) (increase(invoicebox_worker_operator_actions_total{job=~"$job"}[$__rate_interval]))`, "{{action}} {{result}}"})).
		WithRow(dashboard.NewRowBuilder("Results")).
		WithPanel(graph("Published", "Events that all in-sync replicas acknowledged.", unitRate,
			query{rate("type", "invoicebox_worker_published_total", ""), "{{type}}"})).
		WithPanel(graph("Waiting", "Events that wait to be published, and topics that a broker refuses.", unitNone,
			query{`max(invoicebox_worker_outbox_events{job=~"$job"})`, "events"},
			query{`max by (topic) (invoicebox_worker_relay_topic_blocked{job=~"$job"})`, "blocked {{topic}}"},
			query{`max(invoicebox_worker_outbox_not_authentic{job=~"$job"})`, "not authentic"})).
		WithPanel(graph("Publishing", "From sending a batch to its acknowledgement, and failures by class.", unitSeconds, append(quantiles("invoicebox_worker_publish_duration_seconds", ""),
			query{rate("class", "invoicebox_worker_publish_errors_total", ""), "failures a second, {{class}}"})...)).
		WithRow(dashboard.NewRowBuilder("Journal and process")).
		WithPanel(graph("Journal", "Size, and what is free on its disk.", unitBytes,
			query{`max(invoicebox_worker_journal_bytes{job=~"$job"})`, "size"},
			query{`max(invoicebox_worker_journal_used_bytes{job=~"$job"})`, "used"},
			query{`min(invoicebox_worker_journal_disk_free_bytes{job=~"$job"} >= 0)`, "free on the disk"})).
		WithPanel(graph("Journal faults", "Workers that cannot read the journal, and failed transactions.", unitNone,
			query{`count(invoicebox_worker_journal_up{job=~"$job"} == 0) or vector(0)`, "workers without a journal"},
			query{`sum by (step) (increase(invoicebox_worker_journal_errors_total{job=~"$job"}[$__rate_interval]))`, "{{step}}"},
			query{`sum(increase(invoicebox_worker_ingest_failures_total{job=~"$job"}[$__rate_interval]))`, "inbox"},
			query{`sum(increase(invoicebox_worker_prune_errors_total{job=~"$job"}[$__rate_interval]))`, "pruning"})).
		WithPanel(graph("Memory", "Resident memory of each worker.", unitBytes,
			query{`process_resident_memory_bytes{job=~"$job"}`, "{{instance}}"})).
		WithPanel(graph("CPU", "Processors that each worker uses.", unitNone,
			query{`sum by (instance) (rate(process_cpu_seconds_total{job=~"$job"}[$__rate_interval]))`, "{{instance}}"})).
		WithPanel(graph("Rows in the journal", "Events of the inbox, and deleted old rows.", unitNone,
			query{`max(invoicebox_worker_inbox_events{job=~"$job"})`, "events of the inbox"},
			query{rate("kind", "invoicebox_worker_pruned_rows_total", ""), "deleted a second, {{kind}}"})).
		WithPanel(graph("Log lines that were not written", "The log has no reader, the disk is full, or the reader is too slow.", unitNone,
			query{`sum by (instance) (increase(invoicebox_worker_log_lines_not_written_total{job=~"$job"}[$__rate_interval]))`, "{{instance}}"}))
}

// accounts shows the partner accounts and the credentials of their shops.
func accounts() *dashboard.DashboardBuilder {
	return begin("invoicebox-accounts", "Invoicebox accounts and credentials").
		WithVariable(choice("account", "Account", `label_values(invoicebox_worker_account_circuit{job=~"$job"}, account)`)).
		WithRow(dashboard.NewRowBuilder("Accounts")).
		WithPanel(graph("Circuit breakers that are not active", "1 while the account is throttled, backing off or paused.", unitNone,
			query{`max by (account, state) (invoicebox_worker_account_circuit{job=~"$job",account=~"$account",state!="active"})`, "{{account}} {{state}}"}).DrawStyle(common.GraphDrawStyleBars)).
		WithPanel(graph("Permits left", "Requests that each rate limit still permits in its window.", unitNone,
			query{`min by (limit) (invoicebox_worker_rate_limit_available{job=~"$job"})`, "{{limit}}"})).
		WithPanel(graph("Calls in flight", "Calls to Invoicebox.", unitNone,
			query{`sum by (account) (invoicebox_worker_calls_in_flight{job=~"$job",account=~"$account"})`, "{{account}}"})).
		WithPanel(graph("Operations", "Operations that have not ended.", unitNone,
			query{`sum by (account, state) (max by (account, kind, state) (invoicebox_worker_operations{job=~"$job",account=~"$account"}))`, "{{account}} {{state}}"})).
		WithPanel(graph("Claimed operations", "Operations that the workers have claimed.", unitNone,
			query{`sum by (account) (invoicebox_worker_operations_in_flight{job=~"$job",account=~"$account"})`, "{{account}}"})).
		WithPanel(graph("Delayed invitations", "Their address received an e-mail a short time before.", unitRate,
			query{rate("account", "invoicebox_worker_invitations_delayed_total", `,account=~"$account"`), "{{account}}"})).
		WithRow(dashboard.NewRowBuilder("Credentials")).
		WithPanel(graph("Published verifications", "Results of checks of active shops' tokens.", unitRate,
			query{rate("account, state", "invoicebox_worker_credential_verifications_total", `,account=~"$account"`), "{{account}} {{state}}"})).
		WithPanel(graph("Rejected tokens in a row", "From 10 on no credentials_invalid is published.", unitNone,
			query{`max by (account) (invoicebox_worker_credentials_consecutive_rejections{job=~"$job",account=~"$account"})`, "{{account}}"})).
		WithPanel(graph("Values sealed again", "With the primary key, and those that cannot be decrypted.", unitNone,
			query{rate("column", "invoicebox_worker_resealed_values_total", ""), "a second, {{column}}"},
			query{`max by (column) (invoicebox_worker_unreadable_values{job=~"$job"})`, "unreadable, {{column}}"})).
		WithPanel(graph("Requests to OpenBao or Vault", "By result. The expected result of probe is version_mismatch.", unitRate,
			query{rate("operation, result", "invoicebox_worker_credential_store_request_duration_seconds_count", ""), "{{operation}} {{result}}"})).
		WithPanel(graph("Duration of requests to OpenBao or Vault", "All requests.", unitSeconds, quantiles("invoicebox_worker_credential_store_request_duration_seconds", "")...)).
		WithPanel(graph("Requests to the endpoint", "By outcome.", unitRate,
			query{rate("outcome", "invoicebox_worker_credentials_requests_total", ""), "{{outcome}}"})).
		WithPanel(graph("Duration of requests to the endpoint", "Those that read the journal.", unitSeconds, quantiles("invoicebox_worker_credentials_request_seconds", "")...))
}
