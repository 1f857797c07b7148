package dashboards

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// Units of Grafana.
const (
	unitNone    = "short"
	unitSeconds = "s"
	unitBytes   = "bytes"
	unitRate    = "cps" // counts a second
)

// Heights, and widths of the 24 columns.
const (
	statHeight, statSpan   = 4, 3
	graphHeight, graphSpan = 8, 8
)

// dataSource is what the variable of that name chooses.
func dataSource() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("$datasource")}
}

// begin makes a dashboard without panels.
func begin(uid, title string) *dashboard.DashboardBuilder {
	return dashboard.NewDashboardBuilder(title).
		Uid(uid).
		Tags([]string{"invoicebox-worker"}).
		Readonly().
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Refresh("30s").
		Time("now-3h", "now").
		Timezone(common.TimeZoneBrowser).
		Link(dashboard.NewDashboardLinkBuilder("invoicebox-worker").Type("dashboards").Tags([]string{"invoicebox-worker"}).AsDropdown(true).KeepTime(true).IncludeVars(true)).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus")).
		WithVariable(choice("job", "Job", "label_values(invoicebox_worker_build_info, job)"))
}

// choice is a variable with the values of a label, all of them at first.
func choice(name, label, query string) *dashboard.QueryVariableBuilder {
	return dashboard.NewQueryVariableBuilder(name).
		Label(label).
		Datasource(dataSource()).
		Query(dashboard.StringOrMap{String: cog.ToPtr(query)}).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
		Sort(dashboard.VariableSortAlphabeticalAsc).
		Multi(true).
		IncludeAll(true).
		AllValue(".+").
		Current(dashboard.VariableOption{
			Selected: cog.ToPtr(true),
			Text:     dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}},
			Value:    dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}},
		})
}

// A query is a PromQL expression, and the name of its series.
type query struct{ expr, legend string }

// build makes the query of a panel with so many before it.
func (q query) build(before int) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().RefId(string(rune('A' + before))).Expr(q.expr).LegendFormat(q.legend)
}

// figure shows the value of a query now, red from a bound on; 0 is no bound.
func figure(title, description, unit string, bad float64, q query) *stat.PanelBuilder {
	steps := []dashboard.Threshold{{Color: "green"}}
	if bad > 0 {
		steps = append(steps, dashboard.Threshold{Color: "red", Value: cog.ToPtr(bad)})
	}
	return stat.NewPanelBuilder().
		Title(title).
		Description(description).
		Datasource(dataSource()).
		Unit(unit).
		Height(statHeight).
		Span(statSpan).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
		ColorMode(common.BigValueColorModeValue).
		GraphMode(common.BigValueGraphModeArea).
		Thresholds(dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(steps)).
		WithTarget(q.build(0))
}

// graph shows queries over time.
func graph(title, description, unit string, queries ...query) *timeseries.PanelBuilder {
	p := timeseries.NewPanelBuilder().
		Title(title).
		Description(description).
		Datasource(dataSource()).
		Unit(unit).
		Min(0).
		Height(graphHeight).
		Span(graphSpan).
		LineWidth(1).
		FillOpacity(10).
		ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).ShowLegend(true)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
	for i, q := range queries {
		p.WithTarget(q.build(i))
	}
	return p
}

// rate is the rate of a counter, summed by labels.
func rate(by, counter, matchers string) string {
	return fmt.Sprintf("sum by (%s) (rate(%s{job=~\"$job\"%s}[$__rate_interval]))", by, counter, matchers)
}

// quantiles are the median and the 99th percentile of a histogram.
func quantiles(histogram, matchers string) []query {
	var list []query
	for _, q := range []struct{ q, legend string }{{"0.5", "median"}, {"0.99", "99 %"}} {
		list = append(list, query{fmt.Sprintf("histogram_quantile(%s, %s)", q.q, rate("le", histogram+"_bucket", matchers)), q.legend})
	}
	return list
}
