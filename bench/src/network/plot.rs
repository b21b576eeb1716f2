//! How a network's cost grows with its nodes: a table and a drawing.

use std::{error::Error, fmt, path::Path};

use plotters::prelude::*;

use super::Grown;

/// The growth as a Markdown table.
pub(super) struct Table<'a>(pub(super) &'a [Grown]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| nodes | broadcast | operations/s | messages/s | lost | packets/s | bytes/s | least | by the least | CPU ms/s | at rest | p50 ms | p99 ms |\n\
             | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
        )?;
        self.0.iter().try_for_each(|g| {
            writeln!(
                f,
                "| {} | {} | {:.1} | {:.1} | {} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} | {:.1} | {:.1} |",
                g.nodes,
                g.broadcast,
                g.ops,
                g.messages,
                g.lost,
                g.packets,
                g.bytes,
                g.bytes_least,
                g.bytes / g.bytes_least,
                g.cpu_ms,
                g.idle_cpu_ms,
                g.all_ms.0,
                g.all_ms.1
            )
        })
    }
}

/// Pixels of the drawing.
const SIZE: (u32, u32) = (1_050, 360);

/// What a panel is called, and what it shows of a node in a second.
type Panel = (&'static str, fn(&Grown) -> f64);

/// From left to right.
const PANELS: [Panel; 3] =
    [("messages a second", |g| g.messages), ("kB a second", |g| g.bytes / 1e3), ("CPU, ms a second", |g| g.cpu_ms)];

/// Draws messages, bytes and processor time of a node against the number of nodes, both logarithmic: twice as much for twice the
/// nodes is a slope of one.
pub(super) fn draw(path: &Path, growth: &[Grown]) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let nodes: Vec<_> = growth.iter().map(|g| g.nodes).collect();
    let (least, most) = (nodes.iter().min().copied().unwrap_or(1), nodes.iter().max().copied().unwrap_or(1));
    for (panel, (title, value)) in area.split_evenly((1, PANELS.len())).iter().zip(PANELS) {
        let values = || growth.iter().map(value).chain((title.starts_with("kB")).then(|| growth[0].bytes_least / 1e3));
        let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(f64::MIN, f64::max));
        let mut chart = ChartBuilder::on(panel)
            .caption(format!("{title} and node"), ("sans-serif", 15))
            .margin(12)
            .x_label_area_size(34)
            .y_label_area_size(48)
            .build_cartesian_2d(
                (least as f64 * 0.9..most as f64 * 1.1).log_scale(),
                (low * 0.7..high * 1.4).log_scale(),
            )?;
        let whole = |number: &f64| format!("{number:.0}");
        chart
            .configure_mesh()
            .x_desc("nodes")
            .x_labels(3)
            .x_label_formatter(&whole)
            .y_label_formatter(&whole)
            .light_line_style(WHITE)
            .draw()?;
        for (broadcast, colour) in [("full mesh", RGBColor(31, 91, 166)), ("gossipsub", RGBColor(196, 78, 32))] {
            let points = || growth.iter().filter(|g| g.broadcast == broadcast).map(|g| (g.nodes as f64, value(g)));
            let line = chart.draw_series(LineSeries::new(points(), colour.stroke_width(2)))?;
            line.label(broadcast).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
            chart.draw_series(points().map(|point| Circle::new(point, 3, colour.filled())))?;
        }
        if title.starts_with("kB") {
            let points =
                growth.iter().filter(|g| g.broadcast == "full mesh").map(|g| (g.nodes as f64, g.bytes_least / 1e3));
            let grey = RGBColor(120, 120, 120);
            let line = chart.draw_series(LineSeries::new(points, grey))?;
            line.label("least").legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], grey));
        }
        chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).border_style(BLACK.mix(0.2)).draw()?;
    }
    area.present()?;
    Ok(())
}
