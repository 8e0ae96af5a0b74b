//! Commands about pictures, plans and films of a property.

use async_graphql::ID;
use freehold_domain::property::{
    AttachMedia, Property, RemoveMedia, ReorderMedia, SetPreferredPhoto,
};

use super::catalogue::mutations;
use super::payload::PropertyPayload;
use super::run::Order;
use crate::graphql::objects::enums::MediaCategory;
use crate::graphql::query::PropertyBy;

mutations! {
    /// Commands about pictures, plans and films of a property.
    MediaMutations of Property => PropertyPayload {
        /// Adds a picture, plan or film by reference.
        media_attach(MediaAttachInput => "MediaAttachPayload") {
            /// The property.
            property: PropertyBy,
            /// Where the file is, http or https.
            url: String,
            /// What it shows.
            category: MediaCategory,
            /// A public line of text.
            caption: Option<String>,
            /// Its place, smallest first; after the last one where absent.
            order: Option<i32>,
        } |input, form| {
            let order = form.count("order", input.order);
            let (url, category, caption) = (input.url, input.category.into(), input.caption);
            let property = form.property(&input.property).await?;
            let command = AttachMedia { id: form.new_id("media"), url, category, caption, order };
            Ok(property.map(|id| Order::new(id, command)))
        }

        /// Puts all media of a property in a new order.
        media_reorder(MediaReorderInput => "MediaReorderPayload") {
            /// The property.
            property: PropertyBy,
            /// The `mediaId` of every medium once, first to last.
            order: Vec<ID>,
        } |input, form| {
            let mut order = Vec::with_capacity(input.order.len());
            for (index, id) in input.order.iter().enumerate() {
                order.extend(form.uuid(&format!("order[{index}]"), id));
            }
            let property = form.property(&input.property).await?;
            let is_whole = order.len() == input.order.len();
            let property = property.filter(|_| is_whole);
            Ok(property.map(|id| Order::new(id, ReorderMedia { order })))
        }

        /// Chooses the photo that is shown first.
        preferred_photo_set(PreferredPhotoSetInput => "PreferredPhotoSetPayload") {
            /// The property.
            property: PropertyBy,
            /// The photo's `mediaId`.
            media: ID,
        } |input, form| {
            let media = form.uuid("media", &input.media);
            let property = form.property(&input.property).await?;
            let asked = media.zip(property);
            Ok(asked.map(|(media, id)| Order::new(id, SetPreferredPhoto { media })))
        }

        /// Takes a medium away.
        media_remove(MediaRemoveInput => "MediaRemovePayload") {
            /// The property.
            property: PropertyBy,
            /// The `mediaId`.
            media: ID,
        } |input, form| {
            let media = form.uuid("media", &input.media);
            let property = form.property(&input.property).await?;
            Ok(media.zip(property).map(|(media, id)| Order::new(id, RemoveMedia { media })))
        }
    }
}
