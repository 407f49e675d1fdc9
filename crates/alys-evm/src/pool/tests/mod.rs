mod entry;
mod fake;
mod groups;
mod life;
