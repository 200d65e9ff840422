"""The words that dashboards are described in, and their form as Grafana's JSON.

The classic model, schema 42: the last of its kind, which file provisioning and the sidecar of every Grafana from 10 on
take. No panel names a data source: all ask the one that the variable `datasource` holds.
"""

from dataclasses import dataclass, field
from typing import Optional

SCHEMA_VERSION = 42
COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
INTERVAL = "$__rate_interval"

# What a value means is told by its text, too: colour never stands alone.
GOOD, WARNING, BAD, NEUTRAL = "green", "orange", "red", "text"


@dataclass
class Query:
    """PromQL and how its series are called."""

    expr: str
    legend: str = ""
    instant: bool = False
    format: str = "time_series"

    def as_json(self, ref):
        query = {
            "datasource": SOURCE,
            "editorMode": "code",
            "expr": self.expr,
            "format": self.format,
            "instant": self.instant,
            "range": not self.instant,
            "refId": ref,
        }
        if self.legend:
            query["legendFormat"] = self.legend
        return query


def refs():
    """A, B, … Z: no panel has more queries."""
    return (chr(code) for code in range(ord("A"), ord("Z") + 1))


@dataclass
class Panel:
    """What all kinds have in common. Width in columns of 24, height in units of about 30 pixels."""

    title: str
    about: str
    queries: list
    unit: str = "short"
    width: int = 8
    height: int = 8
    decimals: Optional[int] = None
    minimum: Optional[float] = None
    maximum: Optional[float] = None
    # (from this value on, colour); the first has None.
    steps: list = field(default_factory=lambda: [(None, NEUTRAL)])
    # {value: text}
    texts: dict = field(default_factory=dict)

    kind = ""

    def defaults(self):
        steps = [{"color": color, "value": value} for value, color in self.steps]
        found = {"unit": self.unit, "thresholds": {"mode": "absolute", "steps": steps}, "mappings": self.mappings()}
        for name, value in (("decimals", self.decimals), ("min", self.minimum), ("max", self.maximum)):
            if value is not None:
                found[name] = value
        return found

    def mappings(self):
        if not self.texts:
            return []
        options = {str(value): {"index": index, "text": text} for index, (value, text) in enumerate(self.texts.items())}
        return [{"type": "value", "options": options}]

    def overrides(self):
        return []

    def options(self):
        return {}

    def transformations(self):
        return []

    def as_json(self, number, x, y):
        panel = {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.about,
            "datasource": SOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "fieldConfig": {"defaults": self.defaults(), "overrides": self.overrides()},
            "options": self.options(),
            "targets": [query.as_json(ref) for query, ref in zip(self.queries, refs())],
        }
        if self.transformations():
            panel["transformations"] = self.transformations()
        return panel


@dataclass
class Lines(Panel):
    """Values over time."""

    # Series whose name matches this are dashed: what should be, beside what is.
    dashed: str = ""
    stacked: bool = False
    # Numbers under the panel, so that nobody has to read them from lines.
    calcs: tuple = ("lastNotNull", "max")

    kind = "timeseries"

    def defaults(self):
        custom = {
            "drawStyle": "line",
            "fillOpacity": 30 if self.stacked else 0,
            "lineInterpolation": "linear",
            "lineWidth": 2,
            # A value that stands alone between gaps is seen, too.
            "showPoints": "auto",
            "pointSize": 4,
            "spanNulls": False,
            "stacking": {"group": "A", "mode": "normal" if self.stacked else "none"},
            "axisPlacement": "auto",
            "scaleDistribution": {"type": "linear"},
            "thresholdsStyle": {"mode": "off"},
        }
        # By name: a version has the same colour in every panel.
        return {**super().defaults(), "color": {"mode": "palette-classic-by-name"}, "custom": custom}

    def overrides(self):
        if not self.dashed:
            return []
        style = {"id": "custom.lineStyle", "value": {"dash": [8, 8], "fill": "dash"}}
        return [{"matcher": {"id": "byRegexp", "options": self.dashed}, "properties": [style]}]

    def options(self):
        return {
            "legend": {"calcs": list(self.calcs), "displayMode": "table", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc", "hideZeros": False},
        }


@dataclass
class Stat(Panel):
    """One number, or one for each series."""

    width: int = 4
    height: int = 4
    # `name` shows the series' names in place of values.
    text: str = "auto"
    line: bool = True

    kind = "stat"

    def defaults(self):
        return {**super().defaults(), "color": {"mode": "thresholds"}}

    def options(self):
        return {
            "colorMode": "value",
            "graphMode": "area" if self.line else "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "showPercentChange": False,
            "textMode": self.text,
            "wideLayout": True,
        }


@dataclass
class Heat(Panel):
    """How many observations fell into each bucket, over time."""

    kind = "heatmap"
    # One panel for each value of this variable.
    repeat: str = ""

    def options(self):
        return {
            "calculate": False,
            "cellGap": 1,
            "color": {"mode": "scheme", "scheme": "Viridis", "scale": "exponential", "exponent": 0.5, "steps": 64,
                      "fill": "dark-orange", "reverse": False},
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "tooltip": {"mode": "single", "showColorScale": True, "yHistogram": False},
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": self.unit},
        }

    def as_json(self, number, x, y):
        panel = super().as_json(number, x, y)
        if self.repeat:
            panel |= {"repeat": self.repeat, "repeatDirection": "h", "maxPerRow": 3}
        return panel


@dataclass
class Column:
    """One value of a table: a query whose labels are the table's first columns."""

    title: str
    expr: str
    unit: str = "short"
    decimals: Optional[int] = None
    steps: list = field(default_factory=list)
    texts: dict = field(default_factory=dict)


@dataclass
class Table(Panel):
    """A row for each set of labels, a column for each query."""

    queries: list = field(default_factory=list)
    # {label: column title}
    labels: dict = field(default_factory=dict)
    columns: list = field(default_factory=list)
    worst_first: str = ""
    # {label: link}
    links: dict = field(default_factory=dict)
    width: int = COLUMNS

    kind = "table"

    def __post_init__(self):
        self.queries = [Query(column.expr, instant=True, format="table") for column in self.columns]

    def defaults(self):
        custom = {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True, "inspect": False}
        return {**super().defaults(), "custom": custom}

    def overrides(self):
        found = []
        for column in self.columns:
            properties = [{"id": "unit", "value": column.unit}]
            if column.decimals is not None:
                properties.append({"id": "decimals", "value": column.decimals})
            if column.steps:
                steps = [{"color": color, "value": value} for value, color in column.steps]
                properties += [
                    {"id": "thresholds", "value": {"mode": "absolute", "steps": steps}},
                    {"id": "custom.cellOptions", "value": {"type": "color-text"}},
                ]
            if column.texts:
                options = {str(v): {"index": i, "text": text} for i, (v, text) in enumerate(column.texts.items())}
                properties.append({"id": "mappings", "value": [{"type": "value", "options": options}]})
            found.append({"matcher": {"id": "byName", "options": column.title}, "properties": properties})
        for label, url in self.links.items():
            link = {"title": "Show ${__value.text}", "url": url}
            properties = [{"id": "links", "value": [link]}]
            found.append({"matcher": {"id": "byName", "options": self.labels[label]}, "properties": properties})
        return found

    def options(self):
        options = {"cellHeight": "sm", "showHeader": True, "enablePagination": True}
        if self.worst_first:
            options["sortBy"] = [{"displayName": self.worst_first, "desc": True}]
        return options

    def transformations(self):
        names = {f"Value #{ref}": column.title for column, ref in zip(self.columns, refs())}
        # With one query, Grafana does not number its value.
        if len(self.columns) == 1:
            names = {"Value": self.columns[0].title}
        order = [*self.labels, *names]
        organize = {
            "excludeByName": {"Time": True},
            "includeByName": {},
            "indexByName": {name: place for place, name in enumerate(order)},
            "renameByName": {**self.labels, **names},
        }
        return [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]


@dataclass
class Variable:
    """What is chosen at the top of the page: the values of a label."""

    name: str
    label: str
    query: str
    # With `All`, which is every value, and the absence of the label where that may be.
    all_value: str = ".*"
    multi: bool = True

    def as_json(self):
        query = f"label_values({self.query}, {self.name})"
        variable = {
            "name": self.name,
            "label": self.label,
            "type": "query",
            "datasource": SOURCE,
            "definition": query,
            "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
            "refresh": 2,
            "regex": "",
            "sort": 1,
            "hide": 0,
            "multi": self.multi,
            "includeAll": self.multi,
            "options": [],
            "current": {},
        }
        if self.multi:
            variable |= {"allValue": self.all_value, "current": {"text": ["All"], "value": ["$__all"]}}
        return variable


SOURCE_VARIABLE = {
    "name": "datasource",
    "label": "Data source",
    "type": "datasource",
    "query": "prometheus",
    "regex": "",
    "refresh": 1,
    "hide": 0,
    "multi": False,
    "includeAll": False,
    "options": [],
    "current": {},
}


@dataclass
class Row:
    """Panels under a heading, which are laid out from left to right."""

    title: str
    panels: list
    collapsed: bool = False


@dataclass
class Board:
    """A dashboard."""

    uid: str
    title: str
    about: str
    variables: list
    rows: list
    # Times at which a configuration came into force are marked in every panel.
    marks: str = ""

    def as_json(self):
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.about,
            "tags": ["weir"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "timezone": "browser",
            "time": {"from": "now-1h", "to": "now"},
            "timepicker": {"refresh_intervals": ["5s", "10s", "30s", "1m", "5m", "15m", "1h"]},
            "refresh": "10s",
            "fiscalYearStartMonth": 0,
            "preload": False,
            "links": [self.link_to_others()],
            "annotations": {"list": self.annotations()},
            "templating": {"list": [SOURCE_VARIABLE, *(variable.as_json() for variable in self.variables)]},
            "panels": self.panels(),
        }

    def link_to_others(self):
        return {"type": "dashboards", "title": "Weir", "tags": ["weir"], "asDropdown": False, "icon": "external link",
                "includeVars": True, "keepTime": True, "targetBlank": False, "tooltip": "", "url": ""}

    def annotations(self):
        builtin = {"builtIn": 1, "datasource": {"type": "grafana", "uid": "-- Grafana --"}, "enable": True,
                   "hide": True, "iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts",
                   "type": "dashboard"}
        marks = {"datasource": SOURCE, "enable": True, "expr": self.marks, "hide": False, "iconColor": "blue",
                 "name": "Configurations", "step": "60s", "titleFormat": "A configuration came into force"}
        return [builtin, marks] if self.marks else [builtin]

    def panels(self):
        found, number, y = [], 1, 0
        for row in self.rows:
            head = {"id": number, "type": "row", "title": row.title, "collapsed": row.collapsed,
                    "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y}, "panels": []}
            number, y = number + 1, y + 1
            placed, y = place(row.panels, y)
            inside = []
            for panel, x, top in placed:
                inside.append(panel.as_json(number, x, top))
                number += 1
            if row.collapsed:
                head["panels"] = inside
                found.append(head)
            else:
                found += [head, *inside]
        return found


def place(panels, y):
    """Each panel with its place, and the first free line below them."""
    placed, x, height = [], 0, 0
    for panel in panels:
        if x + panel.width > COLUMNS:
            x, y, height = 0, y + height, 0
        placed.append((panel, x, y))
        x, height = x + panel.width, max(height, panel.height)
    return placed, y + height
