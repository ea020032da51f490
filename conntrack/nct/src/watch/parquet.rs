//! Flow records as an Apache Parquet file, one row group for each so many records.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::flows::{COLUMNS, Flow, FlowWriter};
use crate::replay::Failure;

/// Records in a row group.
const GROUP: usize = 65_536;

/// Columns that are texts, and those that are doubles; all others are whole numbers.
const TEXTS: [&str; 7] = [
    "proto",
    "src",
    "dst",
    "reply_src",
    "reply_dst",
    "state",
    "reason",
];
const DOUBLES: [&str; 2] = ["start", "end"];

/// Writes a file.
pub(crate) struct Parquet<W: Write + Send> {
    file: Option<SerializedFileWriter<W>>,
    waiting: Vec<Flow>,
}

fn failed(e: parquet::errors::ParquetError) -> Failure {
    Failure::Message(format!("Parquet: {e}"))
}

impl<W: Write + Send> Parquet<W> {
    /// Begins a file.
    pub(crate) fn new(out: W) -> Result<Self, Failure> {
        let columns: String = COLUMNS
            .iter()
            .map(|name| {
                let kind = if TEXTS.contains(name) {
                    "BYTE_ARRAY"
                } else if DOUBLES.contains(name) {
                    "DOUBLE"
                } else {
                    "INT64"
                };
                let text = if kind == "BYTE_ARRAY" { " (UTF8)" } else { "" };
                format!("REQUIRED {kind} {name}{text}; ")
            })
            .collect();
        let schema =
            parse_message_type(&format!("message flow {{ {columns} }}")).map_err(failed)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        let file = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))
            .map_err(failed)?;
        Ok(Self {
            file: Some(file),
            waiting: Vec::new(),
        })
    }

    fn group(&mut self) -> Result<(), Failure> {
        let rows: Vec<_> = self.waiting.drain(..).map(|f| (f.columns(), f)).collect();
        let Some(file) = self.file.as_mut().filter(|_| !rows.is_empty()) else {
            return Ok(());
        };
        let mut group = file.next_row_group().map_err(failed)?;
        for (i, name) in COLUMNS.iter().enumerate() {
            let Some(mut column) = group.next_column().map_err(failed)? else {
                break;
            };
            if TEXTS.contains(name) {
                let values: Vec<ByteArray> = rows
                    .iter()
                    .map(|(c, _)| ByteArray::from(c[i].as_str()))
                    .collect();
                column
                    .typed::<ByteArrayType>()
                    .write_batch(&values, None, None)
                    .map_err(failed)?;
            } else if DOUBLES.contains(name) {
                let values: Vec<f64> = rows
                    .iter()
                    .map(|(_, f)| if *name == "start" { f.start } else { f.end })
                    .collect();
                column
                    .typed::<DoubleType>()
                    .write_batch(&values, None, None)
                    .map_err(failed)?;
            } else {
                // Truth values are 0 and 1.
                let values: Vec<i64> = rows
                    .iter()
                    .map(|(c, _)| match c[i].as_str() {
                        "true" => 1,
                        "false" => 0,
                        n => n.parse().unwrap_or(0),
                    })
                    .collect();
                column
                    .typed::<Int64Type>()
                    .write_batch(&values, None, None)
                    .map_err(failed)?;
            }
            column.close().map_err(failed)?;
        }
        group.close().map_err(failed)?;
        Ok(())
    }
}

impl<W: Write + Send> FlowWriter for Parquet<W> {
    fn flow(&mut self, flow: &Flow) -> Result<(), Failure> {
        self.waiting.push(flow.clone());
        if self.waiting.len() >= GROUP {
            self.group()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.group()?;
        match self.file.take() {
            Some(file) => file.close().map(drop).map_err(failed),
            None => Ok(()),
        }
    }
}
